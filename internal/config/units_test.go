package config

import (
	"encoding"
	"math"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	duration := func(s string) (any, error) { v, err := ParseDuration(s); return v, err }
	size := func(s string) (any, error) { v, err := ParseBytes(s); return v, err }
	rate := func(s string) (any, error) { v, err := ParseRate(s); return v, err }
	for _, test := range []struct {
		parse func(string) (any, error)
		in    string
		want  any    // nil = refused
		out   string // "" = as in
	}{
		{duration, "5s", Duration(5 * time.Second), ""},
		{duration, "0s", Duration(0), ""},
		{duration, "0", Duration(0), "0s"},
		{duration, "60m", Duration(time.Hour), "1h"},
		{duration, "1h30m", Duration(90 * time.Minute), ""},
		{duration, "1h0m5s", Duration(time.Hour + 5*time.Second), ""},
		{duration, "10m", Duration(10 * time.Minute), ""},
		{duration, "1.5s", Duration(1500 * time.Millisecond), ""},
		{duration, "48h", Duration(48 * time.Hour), "2d"},
		{duration, "7d", Duration(168 * time.Hour), ""},
		{duration, "-1s", nil, ""},
		{duration, "-1d", nil, ""},
		{duration, "1d2h", nil, ""},
		{duration, "200000d", nil, ""},
		{duration, "5", nil, ""},
		{duration, "", nil, ""},

		{size, "10GiB", Bytes(10 << 30), ""},
		{size, "1536MiB", Bytes(1536 << 20), ""},
		{size, "1024KiB", Bytes(1 << 20), "1MiB"},
		{size, "1500", Bytes(1500), "1500B"},
		{size, "10 GB", Bytes(1e10), "9765625KiB"},
		{size, "0", Bytes(0), "0B"},
		{size, "9223372036854775807B", Bytes(math.MaxInt64), ""},
		{size, "9223372036854775808B", nil, ""},
		{size, "8192PiB", nil, ""},
		{size, "1.5GiB", nil, ""},
		{size, "10Gb", nil, ""},
		{size, "10gib", nil, ""},
		{size, "GiB", nil, ""},
		{size, "-1B", nil, ""},
		{size, "", nil, ""},

		{rate, "200Mbit/s", Rate(200e6), ""},
		{rate, "1000Mbit/s", Rate(1e9), "1Gbit/s"},
		{rate, "25MB/s", Rate(200e6), "200Mbit/s"},
		{rate, "1MiB/s", Rate(8 << 20), "8388608bit/s"},
		{rate, "0", Rate(0), "0bit/s"},
		{rate, "10", nil, ""},
		{rate, "1Gbps", nil, ""},
		{rate, "9223372037Gbit/s", nil, ""},
	} {
		got, err := test.parse(test.in)
		if test.want == nil {
			if err == nil {
				t.Errorf("%q is %v, want an error", test.in, got)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%q is %v, %v, want %v", test.in, got, err, test.want)
			continue
		}
		want := test.out
		if want == "" {
			want = test.in
		}
		if text, err := got.(encoding.TextMarshaler).MarshalText(); err != nil || string(text) != want {
			t.Errorf("%q is printed as %q, want %q", test.in, text, want)
		}
	}
	if r := Rate(100e6).BytesPerSecond(); r != 12.5e6 {
		t.Errorf("100 Mbit/s is %d bytes per second", r)
	}
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"5s", "7d", "10GiB", "25MB/s", "1h0m5s", "9223372036854775807B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(d.String()); err != nil || again != d || d < 0 {
				t.Errorf("duration %q is %v, then %v, %v", s, d, again, err)
			}
		}
		if b, err := ParseBytes(s); err == nil {
			if again, err := ParseBytes(b.String()); err != nil || again != b || b < 0 {
				t.Errorf("size %q is %v, then %v, %v", s, b, again, err)
			}
		}
		if r, err := ParseRate(s); err == nil {
			if again, err := ParseRate(r.String()); err != nil || again != r || r < 0 {
				t.Errorf("rate %q is %v, then %v, %v", s, r, again, err)
			}
		}
	})
}
