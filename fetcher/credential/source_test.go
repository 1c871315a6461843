package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/config"
)

// fixed is a Source that always says the same.
type fixed struct {
	value string
	err   error
	asked int
}

func (f *fixed) Authorization(context.Context, string, string) (string, error) {
	f.asked++
	return f.value, f.err
}

func TestFirst(t *testing.T) {
	bad := errors.New("bad")
	for name, tc := range map[string]struct {
		sources []*fixed
		value   string
		err     bool
		told    int
		asked   []int
	}{
		"none":             {nil, "", false, 0, nil},
		"the first":        {[]*fixed{{value: "a"}, {value: "b"}}, "a", false, 0, []int{1, 0}},
		"the second":       {[]*fixed{{}, {value: "b"}}, "b", false, 0, []int{1, 1}},
		"one fails":        {[]*fixed{{err: bad}, {value: "b"}, {value: "c"}}, "b", false, 1, []int{1, 1, 0}},
		"all fail":         {[]*fixed{{err: bad}, {}, {err: bad}}, "", true, 0, []int{1, 1, 1}},
		"nobody has one":   {[]*fixed{{}, {}}, "", false, 0, []int{1, 1}},
		"an error and one": {[]*fixed{{value: "x", err: bad}, {value: "b"}}, "b", false, 1, []int{1, 1}},
	} {
		told := 0
		var sources []Source
		for _, s := range tc.sources {
			sources = append(sources, s)
		}
		got, err := First(func(_ context.Context, err error) {
			told++
			if !errors.Is(err, bad) {
				t.Errorf("%s: told %v", name, err)
			}
		}, sources...).Authorization(t.Context(), "r.test", "a")
		if got != tc.value || (err != nil) != tc.err || told != tc.told {
			t.Errorf("%s: %q, %v, told %d", name, got, err, told)
		}
		for i, s := range tc.sources {
			if s.asked != tc.asked[i] {
				t.Errorf("%s: source %d was asked %d times", name, i, s.asked)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := First(nil, &fixed{}).Authorization(ctx, "r.test", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"docker_config":   func(c *Config) { c.DockerConfig = []string{"/a", "b"} },
		"provider_bin":    func(c *Config) { c.ProviderConfig = "/a" },
		"provider_config": func(c *Config) { c.ProviderConfig, c.ProviderBin = "a", "/b" },
		"go together":     func(c *Config) { c.ProviderBin = "/b" },
		"timeout":         func(c *Config) { c.Timeout = config.Duration(time.Hour) },
		"timeout: 0s":     func(c *Config) { c.Timeout = 0 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := Node(c, nil); err == nil {
			t.Errorf("%s: a source was made", want)
		}
	}
}

// private is a registry whose tokens are got with a password, and expire.
type private struct {
	password string // of the user u

	mu     sync.Mutex
	issued int
	blob   []byte
}

func (p *private) newest() string { return fmt.Sprintf("t%d", p.issued) }

func (p *private) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case r.URL.Path == "/token":
		if user != "u" || password != p.password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.issued++
		fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, p.newest())
	case r.Header.Get("Authorization") == "Bearer "+p.newest():
		w.Write(p.blob)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// What a node knows opens a registry with tokens, also when the token expired and
// when the password changed.
func TestNodeReadsPrivateRegistry(t *testing.T) {
	p := &private{password: "first", blob: []byte("layer")}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	dir := t.TempDir()
	c := Default()
	c.DockerConfig = []string{filepath.Join(dir, "none.json"), filepath.Join(dir, "config.json")}
	c.ProviderConfig, c.ProviderBin = filepath.Join(dir, "providers.yaml"), dir
	write(t, c.ProviderConfig, providers(providerYAML("p", "0s", host)))
	script(t, dir, "p", "exit 1")
	var told []error
	node, err := Node(c, func(_ context.Context, err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	var seen Seen
	all := First(nil, &seen, node)
	origin, err := registry.New(registry.Default(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = origin.Close() })
	read := func() error {
		header := http.Header{}
		value, err := all.Authorization(t.Context(), host, "team/app")
		if err != nil {
			return err
		}
		if value != "" {
			header.Set("Authorization", value)
		}
		resp, err := origin.Open(t.Context(), source.Request{
			Origin: registry.Origin(host, "team/app", registry.Blobs, digest.FromBytes(p.blob).String()), Length: -1, Header: header,
		})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err == nil && string(got) != "layer" {
			err = fmt.Errorf("read %q", got)
		}
		return err
	}
	if err := read(); err == nil || !strings.Contains(err.Error(), "provider p") {
		t.Errorf("no credential and a provider that fails: %v", err)
	}
	write(t, c.DockerConfig[1], `{"auths":{"`+host+`":{"auth":"`+encoded("u", "first")+`"}}}`)
	for range 2 {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	if p.issued != 1 {
		t.Errorf("%d tokens for two reads", p.issued)
	}
	p.mu.Lock()
	p.issued++ // the token expired
	p.mu.Unlock()
	if err := read(); err != nil {
		t.Errorf("after the token expired: %v", err)
	}
	p.mu.Lock()
	p.password, p.issued = "second", p.issued+1
	p.mu.Unlock()
	if err := read(); !errdefs.IsUnauthorized(err) || strings.Contains(err.Error(), "first") {
		t.Errorf("with an old password: %v", err)
	}
	write(t, c.DockerConfig[1], `{"auths":{"`+host+`":{"auth":"`+encoded("u", "second")+`"}}}`)
	if err := read(); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	seen.Accepted(host, "team/app", "Bearer "+p.newest())
	before := p.issued
	if err := read(); err != nil || p.issued != before {
		t.Errorf("with a token that a client showed: %v, %d new tokens", err, p.issued-before)
	}
	write(t, c.DockerConfig[0], `broken`)
	if got := knows(t, node, host, "team/app"); got != basic("u", "second") || len(told) != 1 {
		t.Errorf("beside a broken file: %q, told %v", got, told)
	}
}
