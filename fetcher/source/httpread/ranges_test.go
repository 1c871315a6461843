package httpread

import (
	"math"
	"testing"
)

func TestRangeHeader(t *testing.T) {
	for _, tc := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, ""},
		{0, 1, "bytes=0-0"},
		{5, 10, "bytes=5-14"},
		{5, -1, "bytes=5-"},
		{5, math.MaxInt64, "bytes=5-"},
		{math.MaxInt64, 1, "bytes=9223372036854775807-"},
	} {
		if got := RangeHeader(tc.offset, tc.length); got != tc.want {
			t.Errorf("RangeHeader(%d, %d) = %q, want %q", tc.offset, tc.length, got, tc.want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for in, want := range map[string]ContentRange{
		"bytes 0-0/1":                    {0, 0, 1},
		"bytes 5-14/100":                 {5, 14, 100},
		"bytes 5-14/*":                   {5, 14, -1},
		"":                               {},
		"bytes */100":                    {},
		"bytes 5-4/100":                  {},
		"bytes 5-100/100":                {},
		"bytes 5-/100":                   {},
		"bytes -5/100":                   {},
		"bytes +5-6/100":                 {},
		"bytes 5-6":                      {},
		"bytes 5-6/":                     {},
		"bytes 5-6/1e3":                  {},
		"items 5-6/100":                  {},
		"bytes 0-99999999999999999999/*": {},
		"bytes 0-9223372036854775807/*":  {},
	} {
		got, err := ParseContentRange(in)
		if ok := want != (ContentRange{}); got != want || (err == nil) != ok {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	f.Add("bytes 0-0/1")
	f.Add("bytes 5-14/*")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseContentRange(s)
		if err != nil {
			return
		}
		if r.First < 0 || r.Last < r.First || r.Last-r.First+1 <= 0 || r.Size >= 0 && r.Last >= r.Size || r.Size < -1 {
			t.Errorf("%q: %+v", s, r)
		}
	})
}
