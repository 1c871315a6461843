// Package setting reads what a benchmark shall do from environment variables.
package setting

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// Loopback is the word for links without a shape.
const Loopback = "loopback"

// Reader reads variables. A variable that is not set has its standard value. The first
// that is wrong is kept for Err, and those behind it are not looked at.
type Reader struct {
	getenv func(string) string
	err    error
}

// From returns a reader of an environment, such as os.Getenv.
func From(getenv func(string) string) *Reader { return &Reader{getenv: getenv} }

// Err returns what is wrong with the first variable that is.
func (r *Reader) Err() error { return r.err }

// text returns the value of a variable if somebody shall look at it.
func (r *Reader) text(name string) (string, bool) {
	if r.err != nil {
		return "", false
	}
	text := r.getenv(name)
	return text, text != ""
}

func (r *Reader) fail(name, text, want string, args ...any) {
	r.err = fmt.Errorf("%s=%s: want "+want, append([]any{name, text}, args...)...)
}

// Number reads a number from low to high.
func (r *Reader) Number(name string, low, high, standard int) int {
	text, ok := r.text(name)
	if !ok {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		r.fail(name, text, "a number from %d to %d", low, high)
		return standard
	}
	return n
}

// Flag reads a variable that is 1 or not.
func (r *Reader) Flag(name string) bool { return r.getenv(name) == "1" }

// Time reads a duration.
func (r *Reader) Time(name string, standard time.Duration) time.Duration {
	text, ok := r.text(name)
	if !ok {
		return standard
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		r.fail(name, text, "a duration such as 10m")
		return standard
	}
	return d
}

// Words reads some of the allowed words, separated by commas or blanks; all of them are
// the standard.
func (r *Reader) Words(name string, allowed []string) []string {
	text, ok := r.text(name)
	if !ok {
		return slices.Clone(allowed)
	}
	chosen := words(text)
	if len(chosen) == 0 || slices.ContainsFunc(chosen, func(w string) bool { return !slices.Contains(allowed, w) }) {
		r.fail(name, text, "some of %s", strings.Join(allowed, ","))
		return slices.Clone(allowed)
	}
	return chosen
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// Rates reads speeds of links; 0 is Loopback.
func (r *Reader) Rates(name string, standard ...lab.Rate) []lab.Rate {
	return list(r, name, "rates such as 200mbit, or "+Loopback, standard, func(word string) (lab.Rate, error) {
		if word == Loopback {
			return 0, nil
		}
		return lab.ParseRate(word)
	})
}

// Rate reads one speed.
func (r *Reader) Rate(name string, standard lab.Rate) lab.Rate {
	all := r.Rates(name, standard)
	if len(all) != 1 {
		r.fail(name, r.getenv(name), "one rate")
		return standard
	}
	return all[0]
}

// Sizes reads numbers of bytes, as they are or with KiB, MiB or GiB.
func (r *Reader) Sizes(name string, standard ...int64) []int64 {
	return list(r, name, "sizes such as 512MiB", standard, parseSize)
}

// list reads what parse makes of each word.
func list[T any](r *Reader, name, want string, standard []T, parse func(string) (T, error)) []T {
	text, ok := r.text(name)
	if !ok {
		return standard
	}
	var all []T
	for _, word := range words(text) {
		one, err := parse(word)
		if err != nil {
			r.fail(name, text, "%s (%v)", want, err)
			return standard
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		r.fail(name, text, "%s", want)
		return standard
	}
	return all
}

func parseSize(s string) (int64, error) {
	number, unit := s, int64(1)
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = rest, size
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q: want a number of bytes, or one with KiB, MiB or GiB", s)
	}
	return n * unit, nil
}

// SizeText writes a size as Sizes reads it.
func SizeText(n int64) string {
	for _, u := range []struct {
		suffix string
		size   int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.suffix)
		}
	}
	return fmt.Sprint(n)
}

// RateText writes a rate as Rates reads it.
func RateText(r lab.Rate) string {
	if r == 0 {
		return Loopback
	}
	return r.String()
}
