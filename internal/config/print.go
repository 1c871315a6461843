package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// docWidth is where documentation is broken, in characters.
const docWidth = 100

// Print writes the configuration that v points to as a file with every key under its
// documentation, first what the file is (header). An empty list of tables is shown as
// one commented-out table. Load reads the file back into an equal value.
func Print(w io.Writer, header string, v any) error {
	if _, err := keysOf(v); err != nil {
		return err
	}
	p := printer{}
	p.comment(header)
	if err := p.table("", reflect.ValueOf(v).Elem()); err != nil {
		return err
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

type printer struct {
	out    bytes.Buffer
	prefix string // of lines that are keys or headers; "# " where they are an example
}

func (p *printer) line(s string) {
	p.out.WriteString(strings.TrimRight(p.prefix+s, " ") + "\n")
}

func (p *printer) comment(text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line := "#"
		for word := range strings.FieldsSeq(paragraph) {
			if len(line)+1+len(word) > docWidth {
				p.out.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		p.out.WriteString(line + "\n")
	}
}

// table prints a table's own keys, then the tables in it, as TOML wants it.
func (p *printer) table(path string, v reflect.Value) error {
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return err
	}
	for _, f := range fields {
		if f.isTable() || f.isTables() {
			continue
		}
		text, err := value(v.Field(f.index))
		if err != nil {
			return fmt.Errorf("print %s%s: %w", path, f.name, err)
		}
		p.out.WriteByte('\n')
		p.comment(f.doc)
		p.line(f.name + " = " + text)
	}
	for _, f := range fields {
		switch {
		case f.isTable():
			p.out.WriteByte('\n')
			p.comment(f.doc)
			p.line("[" + path + f.name + "]")
			err = p.table(path+f.name+".", v.Field(f.index))
		case f.isTables():
			err = p.tables(path+f.name, f, v.Field(f.index))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) tables(path string, f field, list reflect.Value) error {
	p.out.WriteByte('\n')
	p.comment(f.doc)
	if list.Len() == 0 {
		outer := p.prefix
		p.prefix = "# "
		defer func() { p.prefix = outer }()
		list = reflect.MakeSlice(f.typ, 1, 1)
	}
	for i := range list.Len() {
		if i > 0 {
			p.out.WriteByte('\n')
		}
		p.line("[[" + path + "]]")
		if err := p.table(path+".", list.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// value returns a value as TOML has it.
func value(v reflect.Value) (string, error) {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok && isText(v.Type()) {
		text, err := m.MarshalText()
		return quote(string(text)), err
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.String:
		return quote(v.String()), nil
	case reflect.Float32, reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return strings.ToLower(s), nil
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			var err error
			if items[i], err = value(v.Index(i)); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	}
	if v.CanInt() {
		return strconv.FormatInt(v.Int(), 10), nil
	}
	return strconv.FormatUint(v.Uint(), 10), nil
}

// quote writes a TOML basic string. What is not UTF-8 is replaced.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
