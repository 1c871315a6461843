package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/internal/pki"
)

// A registry that says 429 to the one who reads for all is left alone by all, for all of
// its contents, until the time it named is over; clients are told how long that is.
func TestOneBudget(t *testing.T) {
	c := New(t)
	v, w := c.Put("app", 2<<20), c.Put("app", 1<<20)
	c.Origin.Fail(v.Origin, sourcetest.Failure{Status: 429, Header: http.Header{"Retry-After": {"60"}}, Times: 1})
	c.Start(pki.Seed, "seed", Options{})
	nodes := c.startNodes(6, Options{Fetch: asConfigured})
	refused := func(v Content, nodes []*Node) {
		t.Helper()
		var wg sync.WaitGroup
		for _, n := range nodes {
			wg.Go(func() {
				began := time.Now()
				body, err := n.Fetcher.Open(patience(t), v.Ask("app"), fetcher.All)
				var said *source.Error
				switch {
				case err == nil:
					_ = body.Close()
					t.Errorf("%s got the content", n.ID)
				case !errors.As(err, &said) || said.Status != 429 || said.RetryAfter <= 0 || said.RetryAfter > time.Minute:
					t.Errorf("%s: %v", n.ID, err)
				case time.Since(began) > unbearable:
					t.Errorf("%s: %v", n.ID, time.Since(began))
				}
			})
		}
		wg.Wait()
	}
	refused(v, nodes)
	refused(w, nodes) // another content of the same registry
	late := c.Start(pki.Node, "late", Options{Fetch: asConfigured})
	refused(w, []*Node{late}) // who was there for none of it
	if got := len(c.Origin.Requests()); got != 1 {
		t.Errorf("the registry was asked %d times", got)
	}
}

// A short pause is waited for.
func TestShortPause(t *testing.T) {
	c := New(t)
	data := bytes.Repeat([]byte("darter"), 1<<19)
	r, host := newRogue(t, data, func(_ *rogue, n int, w http.ResponseWriter, _ *http.Request) bool {
		if n > 1 {
			return false
		}
		w.Header().Set("Retry-After", strconv.Itoa(2))
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	c.Registries = (&vault{}).source(t)
	c.Start(pki.Seed, "seed", Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		n := c.Start(pki.Node, fmt.Sprint("n", i), Options{Fetch: asConfigured})
		door := doorOf(t, n)
		wg.Go(func() {
			o := get(patience(t), door, host, digest.FromBytes(data), 0)
			if o.status != 200 || o.bytes != len(data) || o.took > unbearable {
				t.Errorf("%s: %+v", n.ID, o)
			}
			t.Logf("%s: %.1f s", n.ID, o.took.Seconds())
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if copies := float64(r.sent) / float64(len(data)); r.gets != 2 || copies > 1.02 {
		t.Errorf("%d GETs, %.2f copies", r.gets, copies)
	}
}
