// Package config reads and prints the TOML files of darter's programs. A program's
// configuration is a struct of structs; every field carries two tags,
//
//	Quota config.Bytes `toml:"quota" doc:"Space that the store may take, in bytes; 0 = no quota."`
//
// the key, and its unit, range and effect. Load is strict: an unknown key is an
// error that names the key, the line and the nearest key that exists. Print writes
// the defaults with all documentation, as a file that Load reads back.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// Validator is implemented by a configuration that can say whether it makes sense.
// Its errors begin with the key: "seed.slots: 0, want at least 1".
type Validator interface{ Validate() error }

// Load reads the file at path over the defaults that into, a pointer to a struct,
// holds. What the file does not name keeps its default; a list in the file replaces
// the whole default list. A file that is missing is ErrNotFound; every other fault is
// ErrInvalidArgument, with all unknown keys in one error. After a fault into is
// undefined.
func Load(path string, into any) error {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("load configuration: %w: %w", err, errdefs.ErrNotFound)
	case err != nil:
		return fmt.Errorf("load configuration: %w", err)
	}
	return Parse(path, data, into)
}

// Parse is Load of bytes that were read already; name stands for the file in errors.
func Parse(name string, data []byte, into any) error {
	keys, err := keysOf(into)
	if err != nil {
		return err
	}
	if err := decode(name, data, into, keys); err != nil {
		return fmt.Errorf("load configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if v, ok := into.(Validator); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("load configuration: %s: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// Error is one fault of a file.
type Error struct {
	File    string
	Line    int    // from 1
	Key     string // dotted; "" for a fault of the syntax
	Problem string
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.Problem)
}

func decode(name string, data []byte, into any, keys []key) error {
	if err := checkTexts(name, data, keys); err != nil {
		return err
	}
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var (
		unknown *toml.StrictMissingError
		fault   *toml.DecodeError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown): // before DecodeError, which it wraps
		var all []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, _ := e.Position()
			k := strings.Join(e.Key(), ".")
			all = append(all, &Error{File: name, Line: line, Key: k, Problem: "unknown key" + suggest(k, keys)})
		}
		return errors.Join(all...)
	case errors.As(err, &fault):
		line, _ := fault.Position()
		e := &Error{File: name, Line: line, Key: strings.Join(fault.Key(), "."), Problem: strings.TrimPrefix(fault.Error(), "toml: ")}
		if found, ok := strings.CutPrefix(e.Problem, "cannot decode TOML "); ok {
			if typ := typeOf(e.Key, keys); typ != nil {
				found, _, _ = strings.Cut(found, " ")
				e.Problem = fmt.Sprintf("a TOML %s, want %s", found, describe(typ))
			}
		}
		return e
	}
	return fmt.Errorf("%s: %w", name, err)
}

func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return `a duration such as "5s" or "12h"`
	case reflect.TypeFor[Bytes]():
		return `a size such as "200MiB" or "10GiB"`
	case reflect.TypeFor[Rate]():
		return `a rate such as "200Mbit/s"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number (" + t.Kind().String() + ")"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string in quotes"
	case reflect.Slice:
		return "a list of which each is " + describe(t.Elem())
	case reflect.Struct:
		return "a table"
	}
	return "another type"
}
