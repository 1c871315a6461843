package serial

import (
	"bytes"
	"errors"
	"testing"

	"github.com/darter-p2p/darter/p2p"
)

func heads() []Head {
	return []Head{
		{Size: -1},
		{Reading: Reading{1, 2}, Index: 7, Offset: 3 << 20, Size: -1},
		{Reading: Reading{1, 2}, Index: 8, Offset: 3 << 20, Size: 4 << 20},
		{Reading: Reading{1, 2}, Index: 9, Offset: 4 << 20, Size: 4 << 20, End: true, Sum: [32]byte{9}},
	}
}

func TestHead(t *testing.T) {
	for _, h := range heads() {
		b := h.Append(nil)
		got, err := ParseHead(append(b, "content"...))
		if len(b) != HeadLen || err != nil || got != h {
			t.Errorf("%+v: %d bytes, %+v, %v", h, len(b), got, err)
		}
		if (h.Digest() != "") != h.End {
			t.Errorf("%+v: digest %q", h, h.Digest())
		}
	}
	good := heads()[3].Append(nil)
	for name, edit := range map[string]func([]byte) []byte{
		"short":             func(b []byte) []byte { return b[:HeadLen-1] },
		"magic":             func(b []byte) []byte { b[0]++; return b },
		"version":           func(b []byte) []byte { b[2]++; return b },
		"flags":             func(b []byte) []byte { b[3] |= 2; return b },
		"sum before end":    func(b []byte) []byte { b[3] = 0; return b },
		"offset":            func(b []byte) []byte { b[24] = 0xff; return b },
		"offset past size":  func(b []byte) []byte { b[31]++; return b },
		"end without size":  func(b []byte) []byte { copy(b[32:40], bytes.Repeat([]byte{0xff}, 8)); return b },
		"a size below none": func(b []byte) []byte { b[32] = 0x80; return b },
	} {
		if h, err := ParseHead(edit(bytes.Clone(good))); !errors.Is(err, ErrBadHead) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	for _, h := range heads() {
		f.Add(h.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHead(b)
		if err != nil {
			if !errors.Is(err, ErrBadHead) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(h.Append(nil), b[:HeadLen]) {
			t.Fatalf("%x is not the one form of %+v", b[:HeadLen], h)
		}
	})
}

func TestOrigin(t *testing.T) {
	r := Reading{0xab}
	for _, base := range []p2p.Origin{"http://h/f", "https://h/f?darter-segment=1", "https://h/f#darter-generation=%22a%22"} {
		if IsSegment(base) {
			t.Errorf("%s is a segment", string(base))
		}
		for _, tt := range []struct {
			o    p2p.Origin
			want name
		}{{First(base, "5-a"), name{}}, {Later(base, r, 3), name{r, 3}}} {
			got, n, err := parse(tt.o)
			if err != nil || got != base || n != tt.want || !IsSegment(tt.o) {
				t.Errorf("%s: %s, %+v, %v", string(tt.o), string(got), n, err)
			}
		}
	}
	for _, bad := range []p2p.Origin{
		"http://h/f", "http://h/f#darter-segment=", "http://h/f#darter-segment=zz.1", "http://h/f#darter-segment=ab.1",
		Later("http://h/f", r, 3) + "x", First("http://h/f", "")[:len("http://h/f#darter-segment=first")], Later("http://h/f", r, 0),
	} {
		if _, n, err := parse(bad); err == nil {
			t.Errorf("%s: %+v", string(bad), n)
		}
	}
}

func FuzzParseOrigin(f *testing.F) {
	f.Add(string(First("http://h/f", "1")))
	f.Add(string(Later("http://h/f#darter-generation=x", Reading{}, 2)))
	f.Fuzz(func(t *testing.T, s string) {
		base, n, err := parse(p2p.Origin(s))
		if err == nil && n.index > 0 {
			if again, m, err := parse(Later(base, n.reading, n.index)); err != nil || again != base || m != n {
				t.Fatalf("%q: %q %+v, then %q %+v, %v", s, base, n, again, m, err)
			}
		}
	})
}
