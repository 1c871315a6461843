package config

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, "5s", "1h30m" or "7d"; never negative. Zero is "0s".
type Duration time.Duration

// Bytes is a size, "10GiB", "200MiB", "1500" (bytes) or, with decimal units, "1GB".
type Bytes int64

// Rate is a number of bits per second, "200Mbit/s", "1Gbit/s"; also read as bytes per
// second, "25MB/s".
type Rate int64

// Duration returns d as the standard library has it.
func (d Duration) Duration() time.Duration { return time.Duration(d) }

// String returns the shortest form, which ParseDuration reads back.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseDuration reads numbers with the units ns, us, ms, s, m, h, or whole days ("7d").
func ParseDuration(s string) (Duration, error) {
	const want = `want a number with a unit, such as "500ms", "5s", "1h30m" or "7d"`
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 63)
		if err != nil || n > uint64(math.MaxInt64/(24*time.Hour)) {
			return 0, fmt.Errorf("duration %q: %s", s, want)
		}
		return Duration(n) * Duration(24*time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("duration %q: %s", s, want)
	case d < 0:
		return 0, fmt.Errorf("duration %q is negative", s)
	}
	return Duration(d), nil
}

// unit is a name and what it multiplies by.
type unit struct {
	name   string
	factor int64
}

// The units, largest first of each kind: a printer takes the first that divides.
func byteUnits() []unit {
	return []unit{
		{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1}, {"", 1},
	}
}

func rateUnits() []unit {
	return []unit{
		{"Tbit/s", 1e12}, {"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1},
		{"GiB/s", 8 << 30}, {"MiB/s", 8 << 20}, {"KiB/s", 8 << 10}, {"GB/s", 8e9}, {"MB/s", 8e6}, {"kB/s", 8e3}, {"B/s", 8},
	}
}

// String returns the size in its largest binary unit that gives a whole number.
func (b Bytes) String() string {
	for _, u := range byteUnits()[:5] {
		if b != 0 && int64(b)%u.factor == 0 {
			return strconv.FormatInt(int64(b)/u.factor, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// ParseBytes reads a whole number with a unit from B to PiB or PB; without one, bytes.
func ParseBytes(s string) (Bytes, error) {
	n, err := parseUnits(s, byteUnits())
	if err != nil {
		return 0, fmt.Errorf(`size %q: %w, such as "512KiB", "200MiB" or "10GiB"`, s, err)
	}
	return Bytes(n), nil
}

// BytesPerSecond returns the rate in bytes per second, rounded down.
func (r Rate) BytesPerSecond() int64 { return int64(r) / 8 }

// String returns the rate in its largest decimal unit that gives a whole number.
func (r Rate) String() string {
	for _, u := range rateUnits()[:4] {
		if r != 0 && int64(r)%u.factor == 0 {
			return strconv.FormatInt(int64(r)/u.factor, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(r), 10) + "bit/s"
}

// ParseRate reads a whole number with a unit from bit/s to Tbit/s or from B/s to
// GiB/s. Zero needs no unit.
func ParseRate(s string) (Rate, error) {
	if s == "0" {
		return 0, nil
	}
	n, err := parseUnits(s, rateUnits())
	if err != nil {
		return 0, fmt.Errorf(`rate %q: %w, such as "200Mbit/s", "1Gbit/s" or "25MB/s"`, s, err)
	}
	return Rate(n), nil
}

// parseUnits reads digits and one of the units, with blanks between at will.
func parseUnits(s string, units []unit) (int64, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseUint(s[:digits], 10, 63)
	name := strings.TrimLeft(s[digits:], " ")
	for _, u := range units {
		if err != nil || u.name != name {
			continue
		}
		hi, lo := bits.Mul64(n, uint64(u.factor))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("too large, want at most %d", int64(math.MaxInt64))
		}
		return int64(lo), nil
	}
	return 0, fmt.Errorf("want a whole number with a unit")
}

// MarshalText writes the form of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads with ParseDuration.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// MarshalText writes the form of String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads with ParseBytes.
func (b *Bytes) UnmarshalText(p []byte) (err error) {
	*b, err = ParseBytes(string(p))
	return err
}

// MarshalText writes the form of String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads with ParseRate.
func (r *Rate) UnmarshalText(p []byte) (err error) {
	*r, err = ParseRate(string(p))
	return err
}
