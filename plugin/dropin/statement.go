package dropin

import (
	"bytes"
	"strings"
)

// statement is the place of a key and its value in the root table of a TOML text,
// from its first byte to the end of its last line.
type statement struct{ start, end int }

// rootTable returns the statements of a TOML text before its first table, and
// where that table begins (the length of the text without any). Of a text that is
// not TOML it returns some places inside the text: who edits by them decodes the
// result.
func rootTable(text []byte) (all []statement, end int) {
	for at := 0; at < len(text); {
		first := at
		for first < len(text) && strings.IndexByte(" \t\r\n", text[first]) >= 0 {
			first++
		}
		if first == len(text) {
			break
		}
		switch text[first] {
		case '[':
			return all, lineStart(text, first)
		case '#':
			at = lineEnd(text, first)
		default:
			at = valueEnd(text, first)
			all = append(all, statement{first, at})
		}
	}
	return all, len(text)
}

// valueEnd returns the end of the line on which the statement at an offset ends:
// brackets and strings of several lines are passed over.
func valueEnd(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch c := text[at]; c {
		case '#':
			at = lineEnd(text, at)
			if depth == 0 {
				return at
			}
			continue
		case '"', '\'':
			at = stringEnd(text, at)
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return at + 1
			}
		}
		at++
	}
	return len(text)
}

// stringEnd returns the offset behind the string that begins at an offset.
func stringEnd(text []byte, at int) int {
	quote := text[at : at+1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(text[at:], triple) {
		quote = triple
	}
	for at += len(quote); at < len(text); at++ {
		switch {
		case text[at] == '\\' && quote[0] == '"':
			at++
		case bytes.HasPrefix(text[at:], quote):
			at += len(quote)
			for len(quote) == 3 && at < len(text) && text[at] == quote[0] { // quotes just before the end are the string's
				at++
			}
			return at
		case text[at] == '\n' && len(quote) == 1: // not TOML
			return at
		}
	}
	return len(text)
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

func lineEnd(text []byte, at int) int {
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

// splice returns text with the bytes from start to end replaced.
func splice(text []byte, start, end int, by string) []byte {
	out := make([]byte, 0, len(text)+len(by))
	out = append(out, text[:start]...)
	out = append(out, by...)
	return append(out, text[end:]...)
}
