package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// field is one field of a configuration struct.
type field struct {
	name  string // its key within its table
	doc   string
	typ   reflect.Type
	index int
}

// isTable reports whether the field is a table of its own.
func (f field) isTable() bool { return f.typ.Kind() == reflect.Struct && !isText(f.typ) }

// isTables reports whether the field is a list of tables.
func (f field) isTables() bool {
	return f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct && !isText(f.typ.Elem())
}

// isText reports whether a type is read from and written as one string.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fieldsOf lists the fields of a configuration struct. A field without a key or
// documentation, and one that a file cannot hold, is a mistake in the program.
func fieldsOf(t reflect.Type) ([]field, error) {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("toml"), ",")
		if name == "-" || !sf.IsExported() {
			continue
		}
		f := field{name: name, doc: strings.TrimSpace(sf.Tag.Get("doc")), typ: sf.Type, index: i}
		if f.name == "" || f.doc == "" || sf.Anonymous {
			return nil, fmt.Errorf("configuration field %s.%s: want the tags toml and doc", t, sf.Name)
		}
		if !printable(sf.Type) && !f.isTable() && !f.isTables() {
			return nil, fmt.Errorf("configuration field %s.%s: no form for a %s", t, sf.Name, sf.Type)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func printable(t reflect.Type) bool {
	if isText(t) {
		return t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Slice && printable(t.Elem())
	}
	return false
}

// key is one key of a file, a table's own included.
type key struct {
	path string // dotted
	typ  reflect.Type
}

// keysOf lists the keys of the struct that v points to, in the order of the fields.
func keysOf(v any) ([]key, error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("configuration of type %T: want a pointer to a struct", v)
	}
	return appendKeys(nil, "", t.Elem())
}

func appendKeys(keys []key, prefix string, t reflect.Type) ([]key, error) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		keys = append(keys, key{path: prefix + f.name, typ: f.typ})
		switch {
		case f.isTable():
			keys, err = appendKeys(keys, prefix+f.name+".", f.typ)
		case f.isTables():
			keys, err = appendKeys(keys, prefix+f.name+".", f.typ.Elem())
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// suggest says which known key is nearest to an unknown one, or what its table holds.
func suggest(unknown string, keys []key) string {
	best, bestDistance := "", max(2, len(unknown)/4)+1
	for _, k := range keys {
		d := distance(unknown, k.path)
		if last(unknown) == last(k.path) {
			d = min(d, 2) // the right word in another table
		}
		if d < bestDistance {
			best, bestDistance = k.path, d
		}
	}
	if best != "" {
		return fmt.Sprintf(" (did you mean %s?)", best)
	}
	var here []string
	for _, k := range keys {
		if parent(k.path) == parent(unknown) {
			here = append(here, last(k.path))
		}
	}
	if len(here) == 0 {
		return ""
	}
	return fmt.Sprintf(" (known here: %s)", strings.Join(here, ", "))
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }

// distance is the number of characters to insert, delete or replace, or of
// neighbours to swap, to make one string of the other.
func distance(a, b string) int {
	older := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = slices.Min([]int{prev[j] + 1, cur[j-1] + 1, prev[j-1] + cost})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev, cur = prev, cur, older
	}
	return prev[len(b)]
}
