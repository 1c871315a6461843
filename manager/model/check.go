package model

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// Bounds of what a request may hold.
const (
	MaxName = 128  // bytes of a name
	MaxText = 1024 // characters of a description, a URL or a pattern
	MaxList = 256  // entries of a list
)

// invalid returns an ErrInvalidArgument that begins with the field.
func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", field, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

// checkName reports a name that could not stand in a path or a log line: 1 to 128 of
// a-z, A-Z, 0-9, '.', '-', '_', beginning with a letter or a digit.
func checkName(field, name string) error {
	if name == "" {
		return invalid(field, "empty")
	}
	if len(name) > MaxName {
		return invalid(field, "%d bytes, want at most %d", len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '-' || c == '_'):
		default:
			return invalid(field, "%.40q, want letters, digits, '.', '-' and '_'", name)
		}
	}
	return nil
}

// checkText reports a text that is too long, not UTF-8, or has control characters.
func checkText(field, s string) error {
	if !utf8.ValidString(s) {
		return invalid(field, "not UTF-8")
	}
	if n := utf8.RuneCountInString(s); n > MaxText {
		return invalid(field, "%d characters, want at most %d", n, MaxText)
	}
	for _, r := range s {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f {
			return invalid(field, "holds the control character %U", r)
		}
	}
	return nil
}

// checkList reports a list that is too long or an entry that is empty or bad.
func checkList(field string, list []string, entry func(field, s string) error) error {
	if len(list) > MaxList {
		return invalid(field, "%d entries, want at most %d", len(list), MaxList)
	}
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if s == "" {
			return invalid(at, "empty")
		}
		if err := entry(at, s); err != nil {
			return err
		}
	}
	return nil
}

// checkPattern reports a regular expression that does not compile.
func checkPattern(field, s string) error {
	if err := checkText(field, s); err != nil {
		return err
	}
	if _, err := regexp.Compile(s); err != nil {
		return invalid(field, "%v", err)
	}
	return nil
}
