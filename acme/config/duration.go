package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"time"
)

// Duration is a [time.Duration] written as Go writes it: 90s, 2160h.
type Duration struct{ time.Duration }

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a duration with its unit. A number without one is refused:
// whether 90 are seconds or days is not to be guessed.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return durationError(string(data))
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return durationError(strconv.Quote(text))
	}
	d.Duration = parsed
	return nil
}

// durationError is of the one type that the decoder adds the field's path to.
func durationError(found string) error {
	return &json.UnmarshalTypeError{Value: found, Type: reflect.TypeFor[Duration]()}
}
