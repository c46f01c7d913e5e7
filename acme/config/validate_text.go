package config

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// validateTexts walks every text of the file and refuses control characters: none
// has a use for them, whoever sees them in a directory or a log sees something
// else, and not all are read again from what [Config.Marshal] writes.
func validateTexts(f *faults, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if i := strings.IndexFunc(v.String(), invisible); i >= 0 {
			f.add(path, "%q has a control character, behind %q: leave it out", v, v.String()[:i])
		}
	case reflect.Pointer:
		if !v.IsNil() {
			validateTexts(f, path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			validateTexts(f, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			validateTexts(f, strings.TrimPrefix(path+"."+name, "."), value)
		}
	default: // numbers
	}
}

// invisible reports whether a rune is a control character other than what a
// description of several lines has.
func invisible(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp))
}
