package setting

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// of returns a reader of the variables.
func of(env map[string]string) *Reader { return From(func(name string) string { return env[name] }) }

func TestStandards(t *testing.T) {
	r := of(nil)
	if r.Number("N", 1, 9, 4) != 4 || r.Flag("F") || r.Time("T", time.Second) != time.Second ||
		!slices.Equal(r.Words("W", []string{"a", "b"}), []string{"a", "b"}) ||
		!slices.Equal(r.Rates("R", lab.Gbit), []lab.Rate{lab.Gbit}) || !slices.Equal(r.Sizes("S", 7), []int64{7}) || r.Err() != nil {
		t.Errorf("an empty environment is not the standard: %v", r.Err())
	}
}

func TestValues(t *testing.T) {
	r := of(map[string]string{"N": "9", "F": "1", "T": "2m", "W": "b, a", "R": "200mbit,loopback", "S": "3GiB 64KiB 5"})
	if n := r.Number("N", 1, 9, 4); n != 9 {
		t.Error(n)
	}
	if !r.Flag("F") || r.Time("T", 1) != 2*time.Minute {
		t.Error("flag or time")
	}
	if w := r.Words("W", []string{"a", "b", "c"}); !slices.Equal(w, []string{"b", "a"}) {
		t.Error(w)
	}
	if got := r.Rates("R"); !slices.Equal(got, []lab.Rate{200 * lab.Mbit, 0}) || RateText(got[0]) != "200mbit" || RateText(0) != Loopback {
		t.Error(got)
	}
	got := r.Sizes("S")
	if !slices.Equal(got, []int64{3 << 30, 64 << 10, 5}) {
		t.Error(got)
	}
	for i, want := range []string{"3GiB", "64KiB", "5"} {
		if s := SizeText(got[i]); s != want {
			t.Errorf("size %d is written %s", got[i], s)
		}
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestWrongValues(t *testing.T) {
	for name, read := range map[string]func(*Reader){
		"0":             func(r *Reader) { r.Number("V", 1, 9, 4) },
		"ten":           func(r *Reader) { r.Number("V", 1, 9, 4) },
		"10":            func(r *Reader) { r.Time("V", 1) },
		"-1m":           func(r *Reader) { r.Time("V", 1) },
		"z":             func(r *Reader) { r.Words("V", []string{"a"}) },
		" , ":           func(r *Reader) { r.Words("V", []string{"a"}) },
		"fast":          func(r *Reader) { r.Rates("V") },
		"1gbit,2gbit":   func(r *Reader) { r.Rate("V", 0) },
		"0MiB":          func(r *Reader) { r.Sizes("V") },
		"99999TiB":      func(r *Reader) { r.Sizes("V") },
		"9999999999GiB": func(r *Reader) { r.Sizes("V") },
		",":             func(r *Reader) { r.Sizes("V") },
	} {
		r := of(map[string]string{"V": name})
		if read(r); r.Err() == nil {
			t.Errorf("%q is taken", name)
		}
		first := r.Err()
		r.Number("V", 99, 99, 0)
		if !errors.Is(r.Err(), first) {
			t.Errorf("%q: a later error hides the first", name)
		}
	}
}
