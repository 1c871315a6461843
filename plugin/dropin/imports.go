package dropin

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

var (
	importsKey = regexp.MustCompile(`^(imports|"imports"|'imports')[ \t]*=`)
	versionKey = regexp.MustCompile(`^(version|"version"|'version')[ \t]*=`)
)

// importsOf returns the import patterns of a decoded file, absolute, as containerd
// takes them: relative ones are beside the file.
func importsOf(file string, tree map[string]any) []string {
	list, _ := get[[]any](tree, "imports")
	var patterns []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			continue
		}
		if s = filepath.Clean(s); !filepath.IsAbs(s) {
			s = filepath.Join(filepath.Dir(file), s)
		}
		patterns = append(patterns, s)
	}
	return patterns
}

// dropInPath returns where a drop-in is read because of these import patterns; the
// last one wins, as its files do. "" means nowhere.
func dropInPath(patterns []string) string {
	path := ""
	for _, p := range patterns {
		dir, name := filepath.Split(p)
		if ok, err := filepath.Match(name, FileName); err == nil && ok && !strings.ContainsAny(dir, `*?[\`) {
			path = filepath.Join(dir, FileName)
		}
	}
	return path
}

// addImport returns containerd's main file with one more import pattern, and all
// other bytes as they are. A file in which that cannot be done is ErrFailedPrecondition.
func addImport(text []byte, pattern string) ([]byte, error) {
	before, err := decode(text)
	if err != nil {
		return nil, err
	}
	list, _ := get[[]any](before, "imports")
	line := "imports = ["
	for _, v := range append(list[:len(list):len(list)], pattern) {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("imports holds what is not a string: %w", errdefs.ErrFailedPrecondition)
		}
		if len(line) > len("imports = [") {
			line += ", "
		}
		line += quote(s)
	}
	line += "]\n"

	start, end := importSpan(text)
	if start > 0 && text[start-1] != '\n' {
		line = "\n" + line
	}
	after := splice(text, start, end, line)
	tree, err := decode(after)
	if err == nil {
		got, _ := get[[]any](tree, "imports")
		if len(got) != len(list)+1 || got[len(list)] != any(pattern) {
			err = errdefs.ErrFailedPrecondition
		}
		delete(tree, "imports")
		delete(before, "imports")
		if !reflect.DeepEqual(tree, before) {
			err = errdefs.ErrFailedPrecondition
		}
	}
	if err != nil {
		return nil, fmt.Errorf("add this line by hand, before the first table: %s: %w", strings.TrimSpace(line), errdefs.ErrFailedPrecondition)
	}
	return after, nil
}

// importSpan is what the imports line replaces: the old line, else nothing behind the
// version, else nothing at the top.
func importSpan(text []byte) (start, end int) {
	all, _ := rootTable(text)
	for _, s := range all {
		if importsKey.Match(text[s.start:s.end]) {
			return s.start, s.end
		}
		if versionKey.Match(text[s.start:s.end]) {
			start, end = s.end, s.end
		}
	}
	return start, end
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
