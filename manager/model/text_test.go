package model

import (
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 10, "short"},
		{"a\x00b", 10, "ab"},
		{"a\xffb", 10, "a?b"},
		{"longer", 4, "long"},
		{"aéé", 4, "aé"}, // the second é does not fit
		{"世", 2, ""},
		{"", 0, ""},
	} {
		if got := Text(tt.in, tt.n); got != tt.want || !utf8.ValidString(got) {
			t.Errorf("Text(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
