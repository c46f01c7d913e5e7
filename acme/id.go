package acme

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// ID names an account, order, authorization or certificate. It is a version 7
// UUID (RFC 9562): rows made at about the same time are neighbours in every
// index that starts with it, so that the cost of an insert does not grow with
// the table, and its 74 random bits are not guessed. Guessing one would gain
// nothing: every object is refused to all but its account.
type ID [16]byte

// idEncoding is base32 of RFC 4648 §7 in lower case: safe in a URL, and of the
// same order as the bytes.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// idLength is the number of characters of an ID in text.
const idLength = 26

// NewID returns an ID that no other call, here or on another replica, returns.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads the text form of an ID, as it stands in URLs.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idLength {
		return ID{}, fmt.Errorf("an ID has %d characters, not %d", idLength, len(s))
	}
	if _, err := idEncoding.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("ID %q: %w", s, err)
	}
	if id.String() != s { // the last character carries two bits that must be zero
		return ID{}, fmt.Errorf("ID %q is not in its canonical form", s)
	}
	return id, nil
}

// Time returns when NewID made the ID, in whole milliseconds (RFC 9562 §5.7).
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(append([]byte{0, 0}, id[:6]...))))
}

// String returns the text form: 26 characters of 0-9 and a-v.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// LogValue logs an ID as its text.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }
