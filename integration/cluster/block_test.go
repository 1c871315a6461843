package cluster

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/internal/pki"
)

func rules(t *testing.T, applications, urls, tags []string) *block.Rules {
	t.Helper()
	r, err := block.New(applications, urls, tags)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantBlocked fails unless err is a block that names the rule.
func wantBlocked(t *testing.T, what string, err error, rule string) {
	t.Helper()
	if !errdefs.IsPermissionDenied(err) || !errors.As(err, new(*block.Error)) || !strings.Contains(err.Error(), rule) {
		t.Errorf("%s: %v, want it blocked by %s", what, err, rule)
	}
}

// What is blocked on a node is refused there by every way in, also what is under way,
// and given again when the rule is gone. It is not read past the piece network either.
func TestBlocked(t *testing.T) {
	c := New(t)
	seed := c.Start(pki.Seed, "seed", Options{})
	n := c.Start(pki.Node, "n", Options{})
	v := c.Put("app", 8<<20)
	ask := v.Ask("app")
	s := newSite(t, v.Data)
	u := fetcher.URL{URL: s.URL + "/f", Application: "crawler", Tag: "nightly"}
	for what, tt := range map[string]struct {
		rules *block.Rules
		rule  string
	}{
		"an application": {rules(t, []string{"crawler"}, nil, nil), `application "crawler"`},
		"a tag":          {rules(t, nil, nil, []string{"nightly"}), `tag "nightly"`},
		"a URL":          {rules(t, nil, []string{"^http://127.*/f$"}, nil), `url "^http://127.*/f$"`},
	} {
		n.Rules.Block(tt.rules)
		_, _, err := readURL(t, n, u, fetcher.All)
		wantBlocked(t, what, err, tt.rule)
		_, _, err = n.Fetcher.KeepURL(patience(t), u)
		wantBlocked(t, what+", kept", err, tt.rule)
		if sent := s.total(); sent != 0 {
			t.Errorf("%s: the origin sent %d bytes", what, sent)
		}
	}
	n.Rules.Block(rules(t, []string{"other"}, []string{"/elsewhere"}, []string{"daily"}))
	if got, _, err := readURL(t, n, u, fetcher.All); err != nil || !bytes.Equal(got, v.Data) {
		t.Errorf("what no rule names: %d bytes, %v", len(got), err)
	}

	// A registry's content: what is under way ends, Stat and tags are refused, too.
	body, err := n.Fetcher.Open(patience(t), ask, fetcher.All)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	n.Rules.Block(rules(t, nil, []string{"/v2/.*app/"}, nil))
	_, err = io.Copy(io.Discard, body)
	wantBlocked(t, "under way", err, "app")
	_ = body.Close()
	_, err = n.Fetcher.Open(patience(t), ask, fetcher.All)
	wantBlocked(t, "a blob", err, "app")
	_, err = n.Fetcher.Stat(patience(t), ask)
	wantBlocked(t, "its size", err, "app")
	_, err = n.Fetcher.Resolve(patience(t), ask, "latest")
	wantBlocked(t, "a tag of the registry", err, "app")
	_, _, err = n.Fetcher.Keep(patience(t), ask)
	wantBlocked(t, "preheating", err, "app")
	nameless := ask
	nameless.Registry, nameless.Repository = "", ""
	_, err = n.Fetcher.Open(patience(t), nameless, fetcher.All)
	wantBlocked(t, "by digest alone", err, "app")
	direct := ask
	direct.Direct = true // as a mounted image's reads go on
	if body, err = n.Fetcher.Open(patience(t), direct, fetcher.All); err != nil {
		t.Errorf("past the piece network: %v", err)
	} else {
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, v.Data) {
			t.Errorf("past the piece network: %d bytes, %v", len(got), err)
		}
		_ = body.Close()
	}
	// The door says 403, which sends containerd to the registry itself.
	r, err := http.NewRequestWithContext(patience(t), http.MethodGet, doorOf(t, n)+"/v2/"+ask.Repository+"/blobs/"+ask.Digest.String()+"?ns="+ask.Registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "DENIED") || !strings.Contains(string(text), "blocked by the manager's rule url") {
		t.Errorf("the mirror: %d %s", resp.StatusCode, text)
	}
	n.Rules.Block(nil)
	if body, err = n.Fetcher.Open(patience(t), ask, fetcher.All); err != nil {
		t.Errorf("after the rule has gone: %v", err)
	} else {
		_ = body.Close()
	}
	_ = seed
}

// A rule that only the scheduler or the seed has keeps the piece network from content that
// a node without rules asks for: the node reads the registry by itself.
func TestBlockedForOthers(t *testing.T) {
	for _, who := range []string{"scheduler", "seed"} {
		t.Run(who, func(t *testing.T) {
			c := New(t)
			seed, n := c.Start(pki.Seed, "seed", Options{}), c.Start(pki.Node, "n", Options{})
			v := c.Put("app", 4<<20)
			ask := v.Ask("app")
			r := rules(t, nil, []string{"/v2/.*app/"}, nil)
			if who == "seed" {
				seed.Rules.Block(r)
			} else {
				c.Scheduler.Block(r)
			}
			body, err := n.Fetcher.Open(patience(t), ask, fetcher.All)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			_ = body.Close()
			if err != nil || !bytes.Equal(got, v.Data) || body.From != "origin" {
				t.Errorf("%d bytes, %v, from %s", len(got), err, body.From)
			}
			if held := seed.Store.List(); len(held) != 0 {
				t.Errorf("the seed holds %+v", held)
			}
			_, _, err = n.Fetcher.Keep(patience(t), ask)
			if err == nil || !strings.Contains(err.Error(), "blocked by the manager's rule url") {
				t.Errorf("preheating: %v", err)
			}
		})
	}
}
