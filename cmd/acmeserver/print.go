package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// The formats of lists.
const (
	asTable = "table"
	asJSON  = "json"
	asPEM   = "pem"
)

// formatFlag adds the flag for the format of a list.
func formatFlag(flags *flag.FlagSet, more ...string) *string {
	formats := append([]string{asTable, asJSON}, more...)
	return flags.String("output", asTable, "the `format`: "+strings.Join(formats, ", ")+"; json has an object on each line")
}

// row is what is told of one object: fields in JSON, and cells of a table.
type row interface{ cells() []string }

// printer prints rows in one of the formats.
type printer struct {
	table *tabwriter.Writer // or nil
	json  *json.Encoder     // or nil
	lines int
}

// aligned is how many lines of a table are aligned with each other: a long list is
// printed as it is read.
const aligned = 1000

// newPrinter returns a printer of a table with a head, or of objects in JSON.
func newPrinter(w io.Writer, format string, head ...string) (*printer, error) {
	switch format {
	case asJSON:
		return &printer{json: json.NewEncoder(w)}, nil
	case asTable:
		p := &printer{table: tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)}
		return p, p.line(head)
	}
	return nil, fmt.Errorf("--output %q is no format of this list", format)
}

// print prints a row.
func (p *printer) print(r row) error {
	if p.json != nil {
		return p.json.Encode(r)
	}
	return p.line(r.cells())
}

// line prints a line of a table.
func (p *printer) line(cells []string) error {
	for i, cell := range cells {
		if cells[i] = printable(cell); cell == "" {
			cells[i] = "-"
		}
	}
	if _, err := fmt.Fprintln(p.table, strings.Join(cells, "\t")); err != nil {
		return err
	}
	if p.lines++; p.lines%aligned > 0 {
		return nil
	}
	return p.table.Flush()
}

// close prints what is left.
func (p *printer) close() error {
	if p.table == nil {
		return nil
	}
	return p.table.Flush()
}

// stamp is a time in a table.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// printable returns a text that does nothing to a terminal but stand there: clients chose
// some of what is printed.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
