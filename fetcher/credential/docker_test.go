package credential

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/darter-p2p/darter/fetcher/registry"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func encoded(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func TestDockerConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	d := newDocker(path, time.Minute)
	if got := knows(t, d, "r.test", "a"); got != "" {
		t.Errorf("without a file: %q", got)
	}
	write(t, path, `{"auths": {
		"r.test":                      {"auth": "`+encoded("u", "p:w")+`"},
		"r.test:5000":                 {"username": "u5", "password": "p5"},
		"bare.test":                   {"auth": "`+strings.TrimRight(encoded("u1", "p1"), "=")+`"},
		"r.test/team":                 {"auth": "`+encoded("team", "p")+`"},
		"https://index.docker.io/v1/": {"auth": "`+encoded("hub", "p")+`"},
		"acr.test":                    {"auth": "`+encoded("00000000", "")+`", "identitytoken": "refresh"},
		"token.test":                  {"registrytoken": "tok"},
		"empty.test":                  {}
	}, "HttpHeaders": {"X": "y"}}`)
	for place, want := range map[[2]string]string{
		{"r.test", "a"}:               basic("u", "p:w"),
		{"r.test:5000", "a"}:          basic("u5", "p5"),
		{"r.test:5001", "a"}:          "",
		{"bare.test", "a"}:            basic("u1", "p1"),
		{"r.test", "team/a"}:          basic("team", "p"),
		{"docker.io", "library/a"}:    basic("hub", "p"),
		{"registry-1.docker.io", "a"}: basic("hub", "p"),
		{"acr.test", "a"}:             registry.IdentityAuthorization("refresh"),
		{"token.test", "a"}:           "Bearer tok",
		{"empty.test", "a"}:           "",
		{"other.test", "a"}:           "",
	} {
		if got := knows(t, d, place[0], place[1]); got != want {
			t.Errorf("%v: %q, want %q", place, got, want)
		}
	}
	write(t, path, `{"auths": {"r.test": {"auth": "`+encoded("new", "p")+`"}}}`)
	if got := knows(t, d, "r.test", "a"); got != basic("new", "p") {
		t.Errorf("after a change: %q", got)
	}
	write(t, path+".2", `{"auths": {"r.test": {"auth": "`+encoded("net", "p")+`"}}}`)
	if err := os.Rename(path+".2", path); err != nil {
		t.Fatal(err)
	}
	if got := knows(t, d, "r.test", "a"); got != basic("net", "p") {
		t.Errorf("after it was replaced: %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := knows(t, d, "r.test", "a"); got != "" {
		t.Errorf("after it was removed: %q", got)
	}
}

func TestBadDockerConfigs(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":        secret,
		"cut":             `{"auths":{"r.test":{"auth":"` + secret,
		"a number":        `{"auths":{"r.test":{"password":12345}}}`,
		"a list":          `[]`,
		"no base64":       `{"auths":{"r.test":{"auth":"` + secret + `!"}}}`,
		"no password":     `{"auths":{"r.test":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}}}`,
		"a header":        `{"auths":{"r.test":{"registrytoken":"` + secret + `\r\nX: y"}}}`,
		"a path":          `{"credHelpers":{"r.test":"../../` + secret + `"}}`,
		"a path as store": `{"credsStore":"/bin/sh"}`,
		"too long":        `{"auths":{}}` + strings.Repeat(" ", maxFile),
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		write(t, path, text)
		got, err := newDocker(path, time.Minute).Authorization(t.Context(), "r.test", "a")
		isClean(t, err)
		if err == nil || got != "" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	dir := t.TempDir()
	if _, err := newDocker(dir, time.Minute).Authorization(t.Context(), "r.test", "a"); err == nil {
		t.Error("a folder is no error")
	}
}

// helpers makes a folder of docker-credential-* programs and puts it into PATH.
func helpers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestDockerHelpers(t *testing.T) {
	bin := helpers(t)
	asked := filepath.Join(bin, "asked")
	log := `read -r server; echo "$1 $server" >> ` + asked + "\n"
	script(t, bin, "docker-credential-good", log+`echo "{\"ServerURL\":\"$server\",\"Username\":\"u\",\"Secret\":\"p\"}"`)
	script(t, bin, "docker-credential-token", log+`echo '{"Username":"<token>","Secret":"refresh"}'`)
	script(t, bin, "docker-credential-none", log+`echo credentials not found in native keychain; exit 1`)
	script(t, bin, "docker-credential-broken", log+`echo `+secret+`; exit 1`)
	script(t, bin, "docker-credential-garbage", log+`echo '{"Username": `+secret)
	path := filepath.Join(t.TempDir(), "config.json")
	d := newDocker(path, time.Minute)
	config := func(store string) string {
		return `{"credHelpers": {"good.test": "good", "https://index.docker.io/v1/": "token", "none.test": "none",
			"broken.test": "broken", "both.test": "broken", "garbage.test": "garbage", "missing.test": "` + store + `missing"},
			"credsStore": "` + store + `",
			"auths": {"both.test": {"auth": "` + encoded("file", "p") + `"}, "stored.test": {}}}`
	}
	write(t, path, config(""))
	for registryName, want := range map[string]string{
		"good.test": basic("u", "p"), "docker.io": registry.IdentityAuthorization("refresh"), "none.test": "",
		"both.test": basic("file", "p"), "other.test": "",
	} {
		for range 2 {
			if got := knows(t, d, registryName, "a"); got != want {
				t.Errorf("%s: %q, want %q", registryName, got, want)
			}
		}
	}
	if n := runs(t, asked); n != 4 {
		t.Errorf("%d runs, want one of each helper", n)
	}
	b, _ := os.ReadFile(asked)
	for _, want := range []string{"get good.test\n", "get https://index.docker.io/v1/\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the helpers were asked %q, not %q", b, want)
		}
	}
	for _, name := range []string{"broken.test", "garbage.test", "missing.test"} {
		_, err := d.Authorization(t.Context(), name, "a")
		isClean(t, err)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	write(t, path, config("good"))
	if got := knows(t, d, "stored.test", "a"); got != basic("u", "p") {
		t.Errorf("from the store: %q", got)
	}
}

// HOME is where helpers look for their own settings.
func TestHelperHome(t *testing.T) {
	bin := helpers(t)
	script(t, bin, "docker-credential-home", `echo "{\"Username\":\"u\",\"Secret\":\"$HOME\"}"`)
	home := filepath.Join(t.TempDir(), ".docker")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "config.json"), `{"credsStore":"home"}`)
	t.Setenv("HOME", "")
	if got := knows(t, newDocker(filepath.Join(home, "config.json"), time.Minute), "r.test", "a"); got != basic("u", filepath.Dir(home)) {
		t.Errorf("%q", got)
	}
}

func TestHelperRunsOnceForMany(t *testing.T) {
	bin := helpers(t)
	asked, gate := filepath.Join(bin, "asked"), filepath.Join(bin, "gate")
	script(t, bin, "docker-credential-slow", `echo x >> `+asked+`; while [ ! -e `+gate+` ]; do sleep 0.02; done; echo '{"Username":"u","Secret":"p"}'`)
	path := filepath.Join(t.TempDir(), "config.json")
	write(t, path, `{"credsStore":"slow"}`)
	d := newDocker(path, time.Minute)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := d.Authorization(t.Context(), "r.test", "a"); got != basic("u", "p") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for runs(t, asked) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	write(t, gate, "")
	wg.Wait()
	if n := runs(t, asked); n != 1 {
		t.Errorf("%d runs", n)
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"r.test":{"auth":"dTpw"}},"credHelpers":{"a":"b"},"credsStore":"c"}`))
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"identitytoken":"x"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseDocker(b)
		if err != nil {
			return
		}
		for _, k := range c.ring {
			if v := k.login.authorization(); v == "" || strings.ContainsAny(v, "\r\n") {
				t.Errorf("%q under %q", v, k.name)
			}
		}
		for _, name := range []string{"docker.io", "r.test"} {
			if helper, _ := c.helper(name); helper != "" && !safeName(helper) {
				t.Errorf("helper %q", helper)
			}
		}
		c.ring.find("docker.io/library/x")
	})
}

func FuzzHelper(f *testing.F) {
	f.Add([]byte(`{"ServerURL":"r.test","Username":"u","Secret":"p"}`))
	f.Add([]byte(`{"Username":"<token>","Secret":"t"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseHelper(b)
		if v := l.authorization(); strings.ContainsAny(v, "\r\n") || err != nil && v != "" {
			t.Errorf("%q: %q, %v", b, v, err)
		}
	})
}

func TestLoginIsNotPrinted(t *testing.T) {
	l := login{user: secret, password: secret, identity: secret, bearer: secret}
	if text := fmt.Sprintf("%v %+v %#v %s", l, l, l, &l); strings.Contains(text, secret) {
		t.Errorf("printed: %s", text)
	}
}
