package access

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p"
)

var start = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func newMemory() *Memory { return New(Default(), []byte("salt")) }

func TestReader(t *testing.T) {
	m := newMemory()
	none, a, b := m.Reader(""), m.Reader("Bearer a"), m.Reader("Bearer b")
	if none != (Reader{}) || a == none || a == b || a != m.Reader("Bearer a") {
		t.Errorf("%x, %x, %x", none, a, b)
	}
	if New(Default(), []byte("another")).Reader("Bearer a") == a {
		t.Error("the salt does not count")
	}
}

func TestLook(t *testing.T) {
	no := errors.New("no")
	a, anybody := newMemory().Reader("Bearer a"), Reader{}
	yes := func(k Key, m *Memory) { m.Allow(k, time.Time{}, start) }
	for name, tt := range map[string]struct {
		who   Reader
		said  func(Key, *Memory)
		after time.Duration
		want  State
	}{
		"never asked":                     {a, func(Key, *Memory) {}, 0, Unknown},
		"let in":                          {a, yes, 0, Allowed},
		"until it is to be asked again":   {a, yes, time.Minute - 1, Allowed},
		"from then on":                    {a, yes, time.Minute, Lapsed},
		"until the grace ends":            {a, yes, 24*time.Hour - 1, Lapsed},
		"after the grace":                 {a, yes, 24 * time.Hour, Unknown},
		"anybody is remembered longer":    {anybody, yes, 10*time.Minute - 1, Allowed},
		"but not for ever":                {anybody, yes, 10 * time.Minute, Lapsed},
		"not after the token's own end":   {a, func(k Key, m *Memory) { m.Allow(k, start.Add(time.Second), start) }, time.Second, Lapsed},
		"refused":                         {a, func(k Key, m *Memory) { m.Refuse(k, no, start) }, 3*time.Second - 1, Refused},
		"a refusal is soon asked again":   {a, func(k Key, m *Memory) { m.Refuse(k, no, start) }, 3 * time.Second, Unknown},
		"a refusal takes the yes back":    {a, func(k Key, m *Memory) { yes(k, m); m.Refuse(k, no, start) }, 3 * time.Second, Unknown},
		"a yes takes the refusal back":    {a, func(k Key, m *Memory) { m.Refuse(k, no, start); yes(k, m) }, 0, Allowed},
		"another reader's yes":            {a, func(k Key, m *Memory) { k.Reader[0]++; yes(k, m) }, 0, Unknown},
		"a yes for another repository":    {a, func(k Key, m *Memory) { k.Origin += "x"; yes(k, m) }, 0, Unknown},
		"a yes for a clock that was late": {a, yes, -time.Hour, Allowed},
	} {
		m := newMemory()
		k := Key{Reader: tt.who, Origin: "oci://r.test/app/blobs/sha256:1"}
		tt.said(k, m)
		state, err := m.Look(k, start.Add(tt.after))
		if state != tt.want || (state == Refused) != errors.Is(err, no) {
			t.Errorf("%s: %v, %v, want %v", name, state, err, tt.want)
		}
	}
}

func TestHung(t *testing.T) {
	m := newMemory()
	m.Hang("r.test", start)
	for after, want := range map[time.Duration]bool{0: true, 5*time.Second - 1: true, 5 * time.Second: false} {
		if got := m.Hung("r.test", start.Add(after)); got != want {
			t.Errorf("after %v: %v", after, got)
		}
		m.Hang("r.test", start)
	}
	if m.Hung("other.test", start) {
		t.Error("another registry hangs")
	}
}

// The memory is bounded, and forgets what is oldest.
func TestBounded(t *testing.T) {
	m := newMemory()
	key := func(i int) Key { return Key{Origin: p2p.Origin(fmt.Sprint(i))} }
	const n = maxKept + maxKept/2
	for i := range n {
		now := start.Add(time.Duration(i))
		m.Allow(key(i), time.Time{}, now)
		m.Refuse(Key{Origin: p2p.Origin(fmt.Sprint("no ", i))}, errors.New("no"), now)
	}
	if len(m.allowed.byKey) > maxKept || len(m.refused.byKey) > maxKept {
		t.Fatalf("%d and %d are kept", len(m.allowed.byKey), len(m.refused.byKey))
	}
	if s, _ := m.Look(key(0), start); s != Unknown {
		t.Error("the oldest is known")
	}
	if s, _ := m.Look(key(n-1), start); s != Allowed {
		t.Error("the newest is forgotten")
	}
}

func TestVouched(t *testing.T) {
	public := p2p.Reading{Origin: "oci://a.test/x/blobs/1", Public: true, Seen: start}
	private := p2p.Reading{Origin: "oci://a.test/y/blobs/1", Seen: start}
	other := p2p.Reading{Origin: "oci://b.test/y/blobs/1", Seen: start}
	unknown := p2p.Reading{}
	for name, tt := range map[string]struct {
		readings        []p2p.Reading
		vouched, public bool // by a.test; for all
	}{
		"nothing known":         {nil, false, false},
		"public":                {[]p2p.Reading{public}, true, true},
		"private":               {[]p2p.Reading{private}, true, false},
		"both":                  {[]p2p.Reading{public, private}, true, false},
		"another registry's":    {[]p2p.Reading{other}, false, false},
		"partly another's":      {[]p2p.Reading{private, other}, false, false},
		"partly public":         {[]p2p.Reading{public, other}, false, false},
		"unknown":               {[]p2p.Reading{unknown}, false, false},
		"partly unknown":        {[]p2p.Reading{public, unknown}, false, false},
		"unknown, said public":  {[]p2p.Reading{{Public: true, Seen: start}}, false, false},
		"public at another one": {[]p2p.Reading{{Origin: "oci://b.test/x", Public: true}}, true, true},
	} {
		if got := Vouched("oci://a.test/z/blobs/1", tt.readings); got != tt.vouched {
			t.Errorf("%s: vouched %v", name, got)
		}
		if got := Public(tt.readings); got != tt.public {
			t.Errorf("%s: public %v", name, got)
		}
		if len(tt.readings) > 0 && Vouched("no place", tt.readings) != tt.public {
			t.Errorf("%s: an origin without a host", name)
		}
	}
}

func token(claims string) p2p.Secret {
	return p2p.Secret("h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s")
}

func TestTravels(t *testing.T) {
	in := func(d time.Duration) p2p.Secret { return token(fmt.Sprintf(`{"exp":%d}`, start.Add(d).Unix())) }
	for name, tt := range map[string]struct {
		token p2p.Secret
		want  bool
	}{
		"five minutes":      {in(5 * time.Minute), true},
		"a day":             {in(24 * time.Hour), true},
		"longer":            {in(24*time.Hour + time.Second), false},
		"over":              {in(0), false},
		"no end":            {token(`{"sub":"x"}`), false},
		"end is text":       {token(`{"exp":"soon"}`), false},
		"end before 1970":   {token(`{"exp":-1}`), false},
		"end out of range":  {token(`{"exp":1e300}`), false},
		"opaque":            {"dckr_pat_secret", false},
		"two parts":         {"a.b", false},
		"not base64":        {"a.%%.c", false},
		"not JSON":          {token("exp"), false},
		"fractions":         {token(fmt.Sprintf(`{"exp":%d.5}`, start.Add(time.Minute).Unix())), true},
		"very long":         {token(`{"exp":1,"x":"` + strings.Repeat("x", maxClaims) + `"}`), false},
		"padded with signs": {p2p.Secret("h." + base64.URLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, start.Add(time.Minute).Unix())) + ".s"), true},
	} {
		if got := Travels(tt.token, start); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBearer(t *testing.T) {
	for header, want := range map[string]p2p.Secret{
		"Bearer x": "x", "bearer  x ": "x", "Basic x": "", "": "", "Bearer": "", "x": "",
	} {
		if got := Bearer(header); got != want {
			t.Errorf("%q: %q", header, string(got))
		}
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"remember": func(c *Config) { c.Remember = config.Duration(2 * time.Hour) },
		"public":   func(c *Config) { c.Public = -1 },
		"grace":    func(c *Config) { c.Grace = config.Duration(400 * time.Hour) },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A token is foreign text; reading its end must not fail otherwise than by saying no.
func FuzzExpiry(f *testing.F) {
	for _, s := range []p2p.Secret{"", "a.b.c", "..", token(`{"exp":1}`), token(`{"exp":1e999}`), token(`[]`)} {
		f.Add(string(s))
	}
	f.Fuzz(func(t *testing.T, s string) {
		end, ok := Expiry(p2p.Secret(s))
		if ok && (end.Year() < 1969 || end.Year() > 10000) {
			t.Errorf("%v", end)
		}
		if Travels(p2p.Secret(s), start) && (!ok || end.Sub(start) > maxTokenLife) {
			t.Errorf("%v travels", end)
		}
	})
}

// A reading's time is of a clock that can be set: a jump has the registry asked at most
// once too often, and never keeps public for long what is so no more.
func TestFreshPublicAndClocks(t *testing.T) {
	cfg := Default()
	m := New(cfg, nil)
	public := cfg.Public.Duration()
	now := time.Unix(1_800_000_000, 0)
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		r := p2p.Reading{Origin: "oci://r/a/blobs/x", Public: true, Seen: now}
		if got, want := m.FreshPublic(r, now.Add(jump)), jump.Abs() < public; got != want {
			t.Errorf("after a jump of %v: fresh %v, want %v", jump, got, want)
		}
		// However the clock was set, it ends within twice the time.
		if m.FreshPublic(r, now.Add(jump)) && m.FreshPublic(r, now.Add(jump).Add(2*public)) {
			t.Errorf("after a jump of %v: fresh for more than %v", jump, 2*public)
		}
		if r.Public = false; m.FreshPublic(r, now.Add(jump)) {
			t.Errorf("after a jump of %v: private and fresh", jump)
		}
	}
}
