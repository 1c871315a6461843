package model

import (
	"strings"
	"unicode/utf8"
)

// Text returns what every database takes of a foreign text: valid UTF-8 without NUL, of
// at most n bytes. Others' words (a registry's, a node's) go through it before they are
// written: Postgres refuses the whole row otherwise.
func Text(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
