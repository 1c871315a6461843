package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// checkTexts reads a file for the values of keys whose type has a text form, and
// checks each with its own UnmarshalText. The TOML decoder alone would put a bare
// number into a Duration as nanoseconds, would not ask a type whose kind is string,
// and gives no line for some faults. Faults of the syntax are left to the decoder.
func checkTexts(name string, data []byte, keys []key) error {
	w := walk{name: name, keys: keys}
	w.parser.Reset(data)
	table := ""
	for w.parser.NextExpression() {
		switch e := w.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = join("", e)
		case unstable.KeyValue:
			w.keyValue(table, e)
		}
	}
	return errors.Join(w.faults...)
}

type walk struct {
	name   string
	keys   []key
	parser unstable.Parser
	faults []error
}

// join appends the key of an expression to a table's path.
func join(table string, e *unstable.Node) string {
	for it := e.Key(); it.Next(); {
		table = strings.TrimPrefix(table+"."+string(it.Node().Data), ".")
	}
	return table
}

func (w *walk) keyValue(table string, e *unstable.Node) {
	path := join(table, e)
	if typ := typeOf(path, w.keys); typ != nil {
		it := e.Key()
		it.Next()
		w.value(path, typ, it.Node().Raw, e.Value())
	}
}

// value checks one value; at is where the key or the value before it is.
func (w *walk) value(path string, typ reflect.Type, at unstable.Range, v *unstable.Node) {
	if v.Raw.Length > 0 {
		at = v.Raw
	}
	if isText(typ) {
		if err := checkText(typ, v); err != nil {
			w.faults = append(w.faults, &Error{File: w.name, Line: w.parser.Shape(at).Start.Line, Key: path, Problem: err.Error()})
		}
		return
	}
	switch {
	case v.Kind == unstable.Array && typ.Kind() == reflect.Slice:
		for it := v.Children(); it.Next(); {
			w.value(path, typ.Elem(), at, it.Node())
		}
	case v.Kind == unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			w.keyValue(path, it.Node())
		}
	}
}

func checkText(typ reflect.Type, v *unstable.Node) error {
	if v.Kind != unstable.String && v.Kind != unstable.Integer {
		return fmt.Errorf("a TOML %s, want %s", strings.ToLower(v.Kind.String()), describe(typ))
	}
	return reflect.New(typ).Interface().(encoding.TextUnmarshaler).UnmarshalText(v.Data)
}

// typeOf returns the type of a key, nil for one that is not known. Like the decoder
// it does not look at upper and lower case.
func typeOf(path string, keys []key) reflect.Type {
	for _, k := range keys {
		if strings.EqualFold(k.path, path) {
			return k.typ
		}
	}
	return nil
}
