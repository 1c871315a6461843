package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files")
	os.Exit(m.Run())
}

type sample struct {
	Host  string   `toml:"host" doc:"Name of this node; empty means the name in its certificate."`
	Tags  []string `toml:"tags" doc:"Words."`
	Ratio float64  `toml:"ratio" doc:"From 0 to 1."`
	Slots uint16   `toml:"slots" doc:"Uploads at once, 1 to 64. More slots give each peer less, and the last peer waits longer, which is why the default is small."`
	Debug bool     `toml:"debug" doc:"Log more."`
	Store store    `toml:"store" doc:"Where pieces are kept."`
	Seed  struct {
		Enable bool  `toml:"enable" doc:"Read origins for others."`
		Limits rates `toml:"limits" doc:"What a seed may send."`
	} `toml:"seed" doc:"The seed's part."`
	Registry []registry `toml:"registry" doc:"One table for each registry that needs settings."`
}

type store struct {
	Dir   string     `toml:"dir" doc:"Directory."`
	Quota Bytes      `toml:"quota" doc:"Space that pieces may take; 0 = no quota."`
	TTL   Duration   `toml:"ttl" doc:"Age at which unused pieces go."`
	Waits []Duration `toml:"waits" doc:"Pauses between tries."`
}

type rates struct {
	Up Rate `toml:"up" doc:"Upload rate; 0 = no limit."`
}

type registry struct {
	Host    string   `toml:"host" doc:"host[:port]."`
	Mirrors []string `toml:"mirrors" doc:"Tried before the host itself."`
}

func (s *sample) Validate() error {
	if s.Slots == 0 {
		return errors.New("slots: 0, want at least 1")
	}
	return nil
}

func defaults() *sample {
	s := &sample{Tags: []string{"a\tb", `q"\`, "\x01é"}, Ratio: 1, Slots: 2}
	s.Store = store{Dir: "/var/lib/darter", Quota: 10 << 30, TTL: Duration(7 * 24 * time.Hour), Waits: []Duration{0, Duration(90 * time.Minute)}}
	s.Seed.Limits.Up = 200e6
	return s
}

func TestPrintedDefaultReadsBack(t *testing.T) {
	many := defaults()
	many.Registry = []registry{{"a:5000", []string{"http://m1", "http://m2"}}, {"b", []string{}}}
	for name, c := range map[string]*sample{"default": defaults(), "tables": many} {
		var out bytes.Buffer
		if err := Print(&out, "Configuration of a sample.\nAll keys with their defaults.", c); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".toml", out.Bytes())
		var got sample
		if err := Parse(name, out.Bytes(), &got); err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
		if !reflect.DeepEqual(&got, c) {
			t.Errorf("%s: read back %+v\nprinted %+v", name, got, c)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s (go test -update writes it): %v\ngot\n%s", path, err, got)
	}
}

// TestEveryKeyOfTheExampleIsReal uncomments the example table of an empty list.
func TestEveryKeyOfTheExampleIsReal(t *testing.T) {
	var out bytes.Buffer
	if err := Print(&out, "x", defaults()); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("# [[registry]]", "[[registry]]", "# host = ", "host = ", "# mirrors = ", "mirrors = ").Replace(out.String())
	var got sample
	if err := Parse("x", []byte(text), &got); err != nil || len(got.Registry) != 1 {
		t.Fatalf("%v, %d registries in\n%s", err, len(got.Registry), text)
	}
}

func TestFileOverDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	text := "slots = 4\ntags = ['x']\n[store]\nquota = 1500\nttl = \"1m\"\n[seed]\nlimits.up = \"25MB/s\"\n[[registry]]\nhost = 'h'\n[[registry]]\nhost = 'i'\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, want := defaults(), defaults()
	want.Slots, want.Tags = 4, []string{"x"}
	want.Store.Quota, want.Store.TTL = 1500, Duration(time.Minute)
	want.Seed.Limits.Up = 200e6
	want.Registry = []registry{{Host: "h"}, {Host: "i"}}
	if err := Load(path, got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	if err := Load(path+".none", got); !errors.Is(err, errdefs.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestFaultsNameKeyAndLine(t *testing.T) {
	for name, test := range map[string]struct{ text, say string }{
		"unknown":            {"slots = 1\nslot = 2", "f:2: slot: unknown key (did you mean slots?)"},
		"unknown in a table": {"[store]\nqouta = '1GiB'", "f:2: store.qouta: unknown key (did you mean store.quota?)"},
		"unknown table":      {"\n\n[sead]\nenable = true", "f:3: sead: unknown key (did you mean seed?)"},
		"wrong table":        {"enable = true", "f:1: enable: unknown key (did you mean seed.enable?)"},
		"dotted":             {"seed.limits.upp = '1bit/s'", "f:1: seed.limits.upp: unknown key (did you mean seed.limits.up?)"},
		"array table":        {"[[registry]]\nhost = 'a'\n[[registry]]\nmirors = []", "f:4: registry.mirors: unknown key (did you mean registry.mirrors?)"},
		"nothing near":       {"[store]\ncolour_of_the_sky = 1", "f:2: store.colour_of_the_sky: unknown key (known here: dir, quota, ttl, waits)"},
		"all at once":        {"hots = 'a'\n[store]\ndri = 'b'", "f:1: hots: unknown key (did you mean host?)\nf:3: store.dri: unknown key (did you mean store.dir?)"},
		"type":               {"host = 'a'\nslots = 'many'", "f:2: slots: a TOML string, want a whole number (uint16)"},
		"type of a list":     {"\ntags = 'a'", "f:2: tags: a TOML string, want a list of which each is a string in quotes"},
		"range":              {"slots = 70000", "f:1: slots: "},
		"negative":           {"slots = -1", "f:1: slots: "},
		"table as a value":   {"store = 1", "f:1: store: a TOML integer, want a table"},
		"duration":           {"[store]\nttl = '5'", `f:2: store.ttl: duration "5": want a number with a unit`},
		"duration as number": {"[store]\nttl = 5", `f:2: store.ttl: duration "5": want a number with a unit`},
		"duration inline":    {"store = {ttl = 5}", `f:1: store.ttl: duration "5": want`},
		"table list inline":  {"registry = [{hots = 'a'}]", "f:1: hots: unknown key"},
		"several values":     {"[store]\nttl = '5'\nquota = 'x'", "\nf:3: store.quota: "},
		"duration in a list": {"[store]\nwaits = ['1s',\n'x']", `f:3: store.waits: duration "x": want a number`},
		"size":               {"[store]\nquota = '10 gigs'", `f:2: store.quota: size "10 gigs": want a whole number with a unit`},
		"size of a bool":     {"[store]\nquota = true", `f:2: store.quota: a TOML bool, want a size such as`},
		"rate":               {"[seed.limits]\nup = '5'", `f:2: seed.limits.up: rate "5": want a whole number with a unit`},
		"syntax":             {"host = 'a'\nslots = = 2", "f:2: "},
		"twice":              {"slots = 1\nslots = 2", "f:2: slots: "},
		"validation":         {"slots = 0", "f: slots: 0, want at least 1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Parse("f", []byte(test.text), defaults())
			if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), test.say) {
				t.Fatalf("got  %v\nwant %s", err, test.say)
			}
		})
	}
}

func TestMistakesInTheProgram(t *testing.T) {
	for name, v := range map[string]any{
		"no doc": &struct {
			A int `toml:"a"`
		}{},
		"no key": &struct {
			A int `doc:"a"`
		}{},
		"map": &struct {
			A map[string]int `toml:"a" doc:"a"`
		}{},
		"within": &struct {
			A struct {
				B chan int `toml:"b" doc:"b"`
			} `toml:"a" doc:"a"`
		}{},
		"no pointer": sample{},
		"nothing":    nil,
	} {
		if err := Print(&bytes.Buffer{}, "x", v); err == nil {
			t.Errorf("%s is printed", name)
		}
		if err := Parse("f", nil, v); err == nil {
			t.Errorf("%s is parsed", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	var out bytes.Buffer
	if err := Print(&out, "x", defaults()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte("[[registry]]\nhost='a'\n[store]\nttl='1s'\nwaits=[1,2]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, again sample
		if err := Parse("f", data, &got); err != nil {
			return
		}
		var out bytes.Buffer
		if err := Print(&out, "x", &got); err != nil {
			t.Fatal(err)
		}
		if err := Parse("again", out.Bytes(), &again); err != nil {
			t.Fatalf("%v in\n%s", err, out.String())
		}
		var twice bytes.Buffer
		if err := Print(&twice, "x", &again); err != nil || !bytes.Equal(twice.Bytes(), out.Bytes()) {
			t.Fatalf("%v: printed\n%s\nthen\n%s", err, out.String(), twice.String())
		}
	})
}
