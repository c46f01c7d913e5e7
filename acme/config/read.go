package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"

	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Read reads the file at path, applies the defaults and validates. The error
// names the file and lists every fault.
func Read(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse is [Read] of a file's content.
func Parse(data []byte) (*Config, error) {
	c := new(Config)
	if err := decode(data, c); err != nil {
		return nil, err
	}
	c.SetDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// Marshal returns the file, with its keys sorted, so that the same Config always
// gives the same bytes. It does not validate.
func (c *Config) Marshal() ([]byte, error) {
	data, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return data, nil
}

// decode reads one YAML document strictly: a key that is repeated, is not a
// field, or is one but for its case, is an error with its path. encoding/json
// would take a field in any case and name it without its path.
func decode(data []byte, into *Config) error {
	if err := oneDocument(data); err != nil {
		return err
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return fmt.Errorf("not YAML: %w", err)
	}
	unknown, err := strictjson.UnmarshalStrict(asJSON, into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return typeError(wrong)
	}
	return errors.Join(append(unknown, err)...)
}

// typeError says which field has a value of the wrong type, in the words of the
// format rather than of Go.
func typeError(e *json.UnmarshalTypeError) error {
	want := "a " + e.Type.Kind().String()
	switch {
	case e.Type == reflect.TypeFor[Duration]():
		want = "a duration: a number with its unit, such as 90s or 2160h"
	case e.Type.Kind() == reflect.Struct, e.Type.Kind() == reflect.Pointer:
		want = "a mapping"
	case e.Type.Kind() == reflect.Slice:
		want = "a list"
	case e.Type.Kind() == reflect.Int:
		want = "a whole number"
	}
	field := e.Field
	if field == "" {
		field = "the file"
	}
	return &FieldError{Field: field, Problem: fmt.Sprintf("is %s, and should be %s", e.Value, want)}
}

// oneDocument refuses a file of several YAML documents, of which the parser
// would read the first and ignore the rest.
func oneDocument(data []byte) error {
	content := false
	for line := range bytes.Lines(data) {
		mark := bytes.HasPrefix(line, []byte("---"))
		if mark && content {
			return errors.New("the file has more than one YAML document")
		}
		trimmed := bytes.TrimSpace(line)
		content = content || (!mark && len(trimmed) > 0 && trimmed[0] != '#')
	}
	return nil
}
