package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/access"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/plugin/mirror"
)

// request is what a client asks of a door, or of the registry itself.
type request struct {
	method, repository, kind string
	digest                   digest.Digest
	authorization            string
	header                   map[string]string
	registry                 string // "" = none is named
}

// answer is what a client got, as far as it may depend on who asks.
type answer struct {
	status    int
	body      digest.Digest
	challenge string
}

func (q request) do(t *testing.T, at string, ns bool) answer {
	t.Helper()
	u := at + "/v2/" + q.repository + "/" + q.kind + "/" + q.digest.String()
	if ns && q.registry != "" {
		u += "?ns=" + q.registry
	}
	r, err := http.NewRequestWithContext(patience(t), q.method, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if q.authorization != "" {
		r.Header.Set("Authorization", q.authorization)
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, u, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, u, err)
	}
	a := answer{status: resp.StatusCode, challenge: resp.Header.Get("WWW-Authenticate")}
	if a.status < 300 {
		a.body = digest.FromBytes(body)
	}
	return a
}

// doorOf is a node's mirror without a default registry.
func doorOf(t *testing.T, n *Node) string {
	t.Helper()
	cfg := mirror.Default()
	cfg.DefaultRegistry = ""
	h, err := mirror.New(n.Fetcher, cfg, mirror.Options{Instance: string(n.ID)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func randomBytes(seed byte, size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed, 7}).Read(data) //nolint:errcheck // never fails
	return data
}

// given counts the tokens that went to each host.
type given struct {
	mu sync.Mutex
	to map[p2p.HostID]int
}

func (g *given) events() node.Events {
	return node.Events{TokenGiven: func(_ p2p.TaskID, to p2p.HostID) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.to == nil {
			g.to = map[p2p.HostID]int{}
		}
		g.to[to]++
	}}
}

func (g *given) count() (n int, hosts []p2p.HostID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for h, k := range g.to {
		n += k
		hosts = append(hosts, h)
	}
	return n, hosts
}

// liar is a registry that says it has everything, and gives its own bytes.
func liar(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("forged ", 1<<18)))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// captureLogs returns what is logged until the end of the test.
func captureLogs(t *testing.T) func() string {
	var mu sync.Mutex
	var text bytes.Buffer
	was := log.L.Logger.Out
	log.L.Logger.SetOutput(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(p)
	}))
	t.Cleanup(func() { log.L.Logger.SetOutput(was) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Two users, two private repositories with a layer in common, and everybody who has no
// business with them: each gets exactly what the registry alone would give, whether the
// node that he asks holds the content or not, and the registry sends the layer once.
func TestPrivateContent(t *testing.T) {
	logged := captureLogs(t)
	c, v := New(t), newVault(t)
	c.Registries = v.source(t)
	v.user("alice", "alice/app")
	v.user("bob", "bob/app")
	v.public = []string{"public/app"}
	shared, alone, open := randomBytes(1, 3<<20), randomBytes(2, 1<<20), randomBytes(3, 2<<20)
	layer := v.put("alice/app", "blobs", shared)
	v.put("bob/app", "blobs", shared)
	own := v.put("alice/app", "blobs", alone)
	public := v.put("public/app", "blobs", open)
	v.put("alice/app", "blobs", open) // the same digest, private here
	text := []byte(`{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{},"layers":[{"digest":"` + layer.String() + `"},{"digest":"` + own.String() + `"}]}`)
	manifest := v.put("alice/app", "manifests", text)

	var tokens given
	c.Start(pki.Seed, "seed", Options{})
	short := access.Default()
	a := c.Start(pki.Node, "a", Options{Events: tokens.events(), Access: &short})
	b := c.Start(pki.Node, "b", Options{Events: tokens.events()})
	doors := map[string]string{"a": doorOf(t, a), "b": doorOf(t, b)}
	bearer := func(repository string, life time.Duration) string { return "Bearer " + v.issue(repository, life) }
	alice, bob := bearer("alice/app", time.Hour), bearer("bob/app", time.Hour)
	expired := bearer("alice/app", -time.Minute)
	secrets := []string{alice, bob, expired, "alice-password"}

	// a's user pulls everything, so that a and the seed hold it.
	for _, q := range []request{
		{repository: "alice/app", kind: "manifests", digest: manifest, authorization: alice},
		{repository: "alice/app", kind: "blobs", digest: layer, authorization: alice},
		{repository: "alice/app", kind: "blobs", digest: own, authorization: alice},
		{repository: "public/app", kind: "blobs", digest: public},
	} {
		q.method, q.registry = http.MethodGet, v.host
		if got := q.do(t, doors["a"], true); got.status != http.StatusOK || got.body != q.digest {
			t.Fatalf("%+v: %+v", q, got)
		}
	}
	warm := v.bodies(layer)

	type who struct{ name, repository, authorization string }
	for _, w := range []who{
		{"alice", "alice/app", alice},
		{"bob in his own repository", "bob/app", bob},
		{"bob in alice's", "alice/app", bob},
		{"alice in bob's", "bob/app", alice},
		{"nobody in alice's", "alice/app", ""},
		{"nobody in bob's", "bob/app", ""},
		{"nobody in the public one", "public/app", ""},
		{"alice in the public one", "public/app", alice},
		{"wrong token", "alice/app", "Bearer nonsense"},
		{"expired token", "alice/app", expired},
		{"no such repository", "carol/app", alice},
	} {
		for _, what := range []struct {
			kind   string
			digest digest.Digest
		}{{"blobs", layer}, {"blobs", own}, {"blobs", public}, {"manifests", manifest}, {"blobs", manifest}} {
			for how, header := range map[string]map[string]string{
				"GET": nil, "HEAD": nil, "GET range": {"Range": "bytes=100-199"},
				"GET condition": {"If-None-Match": `"` + what.digest.String() + `"`},
			} {
				q := request{repository: w.repository, kind: what.kind, digest: what.digest, authorization: w.authorization, header: header, registry: v.host}
				q.method, _, _ = strings.Cut(how, " ")
				want := q.do(t, v.url, false)
				for _, at := range []string{"a", "b"} {
					if got := q.do(t, doors[at], true); got != want {
						t.Errorf("%s: %s of %s %s at %s: %+v, the registry alone gives %+v", w.name, how, what.kind, what.digest, at, got, want)
					}
				}
			}
		}
	}
	// The comparisons asked the vault itself: what they were sent is known.
	t.Logf("the registry sent %.2f copies of the layer while a pulled it", float64(warm)/float64(len(shared)))
	if warm != int64(len(shared)) {
		t.Errorf("the registry sent %d bytes of a layer of %d", warm, len(shared))
	}
	if s, _ := b.Task(taskOf(t, layer)); s.FromOrigin != 0 {
		t.Errorf("b read %d bytes of the layer from the registry", s.FromOrigin)
	}
	if n, hosts := tokens.count(); n == 0 || len(hosts) != 1 || hosts[0] != "seed" {
		t.Errorf("%d tokens went to %v, want some to the seed alone", n, hosts)
	}

	t.Run("by digest alone", func(t *testing.T) {
		for d, want := range map[digest.Digest]int{layer: 404, own: 404, public: 200} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, auth := range []string{"", alice} {
					q := request{method: method, repository: "alice/app", kind: "blobs", digest: d, authorization: auth}
					if got := q.do(t, doors["a"], true); got.status != want {
						t.Errorf("%s of %s: %d, want %d", method, d, got.status, want)
					}
				}
			}
		}
	})
	t.Run("a registry that claims to have it", func(t *testing.T) {
		evil := liar(t)
		for _, d := range []digest.Digest{layer, own} {
			for _, auth := range []string{"", "Bearer x"} {
				q := request{method: http.MethodGet, repository: "alice/app", kind: "blobs", digest: d, authorization: auth, registry: evil}
				if got := q.do(t, doors["a"], true); got.body == d {
					t.Errorf("%s was given on the word of a stranger", d)
				}
			}
		}
	})
	t.Run("URL with a digest", func(t *testing.T) {
		for _, at := range []string{v.url + "/v2/alice/app/blobs/" + own.String(), "http://" + liar(t) + "/x"} {
			body, err := a.Fetcher.OpenURL(patience(t), fetcher.URL{URL: at, Digest: own}, fetcher.All)
			if err != nil {
				continue
			}
			got, _ := io.ReadAll(body)
			body.Close()
			if digest.FromBytes(got) == own {
				t.Errorf("%s gave private content", at)
			}
		}
	})
	t.Run("password", func(t *testing.T) {
		basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
		for auth, want := range map[string]int{basic("alice:alice-password"): 200, basic("alice:guess"): 401, basic("bob:bob-password"): 401} {
			q := request{method: http.MethodGet, repository: "alice/app", kind: "blobs", digest: own, authorization: auth, registry: v.host}
			for name, at := range doors {
				if got := q.do(t, at, true); got.status != want {
					t.Errorf("%s: %d, want %d", name, got.status, want)
				}
			}
		}
	})
	t.Run("a stranger on the data port", func(t *testing.T) {
		for _, n := range []*Node{a, b} {
			strangers(t, n.Addr)
		}
	})
	if text := logged(); containsAny(text, secrets) {
		t.Errorf("a secret was logged:\n%s", text)
	}
	if path := fileWith(t, c.dir, secrets); path != "" {
		t.Errorf("a secret is in %s", path)
	}
}

func taskOf(t *testing.T, d digest.Digest) p2p.TaskID {
	t.Helper()
	id, err := p2p.TaskOfDigest(d)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// containsAny reports whether a text has one of the secrets, without its scheme.
func containsAny(text string, secrets []string) bool {
	for _, s := range secrets {
		if strings.Contains(text, strings.TrimPrefix(s, "Bearer ")) {
			return true
		}
	}
	return false
}

// fileWith returns a file below dir that has a secret in it, "" if there is none.
func fileWith(t *testing.T, dir string, secrets []string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && containsAny(string(text), secrets) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// strangers tries a node's port without a certificate and with one of another authority.
func strangers(t *testing.T, addr string) {
	t.Helper()
	other, err := pki.CreateCA("test", time.Now(), time.Hour) // of the same name
	if err != nil {
		t.Fatal(err)
	}
	pair, err := other.Issue(pki.Request{Role: pki.Seed, Name: "seed"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.NewIdentity(pair, other.Roots())
	if err != nil {
		t.Fatal(err)
	}
	theirs := id.ClientTLS(pki.Node, pki.Seed)
	theirs.InsecureSkipVerify, theirs.VerifyConnection = true, nil // the stranger does not mind
	for name, conf := range map[string]*tls.Config{
		"in clear": nil, "no certificate": {InsecureSkipVerify: true}, "another authority's": theirs,
	} {
		for _, proto := range []string{"darter-control/1", "darter-data/1"} {
			raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			conn := raw
			if conf != nil {
				conf := conf.Clone()
				conf.MinVersion, conf.NextProtos = tls.VersionTLS13, []string{proto}
				conn = tls.Client(raw, conf)
			}
			_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = conn.Write(append([]byte{0xD7, 1, 4, 's', 'e', 'e', 'd'}, make([]byte, 56+48)...))
			got, err := io.ReadAll(conn)
			if len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s, %s: got %d bytes, %v", name, proto, len(got), err)
			}
			conn.Close()
		}
	}
}

// readAll reads a content through a node with a credential.
func readAll(ctx context.Context, n *Node, v *vault, repository string, d digest.Digest, authorization string) error {
	ask := fetcher.Content{Registry: v.host, Repository: repository, Kind: fetcher.Blob, Digest: d, Header: http.Header{}}
	if authorization != "" {
		ask.Header.Set("Authorization", authorization)
	}
	body, err := n.Fetcher.Open(ctx, ask, fetcher.All)
	if err != nil {
		return err
	}
	defer body.Close()
	h := digest.SHA256.Digester()
	if _, err := io.Copy(h.Hash(), body); err != nil {
		return err
	}
	if h.Digest() != d {
		return errors.New("wrong bytes")
	}
	return nil
}

// The token that a seed reads with is revoked in the middle: it asks the readers for
// another one, and goes on where it stopped.
func TestPrivateTokenExpires(t *testing.T) {
	c, v := New(t), newVault(t)
	c.Registries = v.source(t)
	data := randomBytes(4, 8<<20)
	d := v.put("alice/app", "blobs", data)
	v.set(func() { v.cutAfter, v.cuts = 2<<20, 2 })
	seed := c.Start(pki.Seed, "seed", Options{})
	var wg sync.WaitGroup
	var tokens given
	for _, name := range []string{"a", "b", "c", "d"} {
		n := c.Start(pki.Node, name, Options{Events: tokens.events()})
		auth := "Bearer " + v.issue("alice/app", time.Hour)
		wg.Go(func() {
			if err := readAll(patience(t), n, v, "alice/app", d, auth); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	s, _ := seed.Task(taskOf(t, d))
	n, hosts := tokens.count()
	v.set(func() {
		t.Logf("%d tokens to %v, shown %d times; sent %d of %d", n, hosts, len(v.used), v.sent["alice/app/blobs/"+d.String()], len(data))
	})
	if s.FromOrigin != int64(len(data)) {
		t.Errorf("the seed read %d bytes of %d", s.FromOrigin, len(data))
	}
	if got := v.bodies(d); float64(got) > 1.2*float64(len(data)) {
		t.Errorf("the registry sent %d bytes of a content of %d", got, len(data))
	}
}

// Where no token may travel, one of the readers' own nodes reads the registry, and the
// others take the pieces from it; passwords stay where they are.
func TestPrivateWithoutTravellingTokens(t *testing.T) {
	for name, change := range map[string]func(*vault) string{
		"opaque tokens":      func(v *vault) string { v.opaque = true; return "" },
		"passwords only":     func(v *vault) string { v.wantBasic = true; return "Basic" },
		"passwords, tokens":  func(*vault) string { return "Basic" },
		"no seed, passwords": func(v *vault) string { v.wantBasic = true; return "Basic" },
	} {
		t.Run(name, func(t *testing.T) {
			c, v := New(t), newVault(t)
			c.Registries = v.source(t)
			v.user("alice", "alice/app")
			scheme := change(v)
			data := randomBytes(5, 6<<20)
			d := v.put("alice/app", "blobs", data)
			if !strings.HasPrefix(name, "no seed") {
				c.Start(pki.Seed, "seed", Options{})
			}
			var tokens given
			var wg sync.WaitGroup
			for _, at := range []string{"a", "b", "c"} {
				n := c.Start(pki.Node, at, Options{Events: tokens.events()})
				auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:alice-password"))
				if scheme == "" {
					auth = "Bearer " + v.issue("alice/app", time.Hour)
				}
				wg.Go(func() {
					if err := readAll(patience(t), n, v, "alice/app", d, auth); err != nil {
						t.Errorf("%s: %v", at, err)
					}
				})
			}
			wg.Wait()
			n, _ := tokens.count()
			if travels := name == "passwords, tokens"; travels != (n > 0) {
				t.Errorf("%d tokens travelled", n)
			}
			if got := v.bodies(d); got != int64(len(data)) {
				t.Errorf("the registry sent %d bytes of a content of %d", got, len(data))
			}
		})
	}
}

// While the registry fails, what was public is for all, and what is private for those
// whom it let in within the grace; nobody else gets a byte.
func TestPrivateOutage(t *testing.T) {
	c, v := New(t), newVault(t)
	c.Registries = v.source(t)
	v.public = []string{"public/app"}
	private, public := v.put("alice/app", "blobs", randomBytes(6, 2<<20)), v.put("public/app", "blobs", randomBytes(7, 2<<20))
	seed := c.Start(pki.Seed, "seed", Options{})
	ask := access.Config{Grace: config.Duration(time.Hour)} // nothing counts without asking
	a := c.Start(pki.Node, "a", Options{Access: &ask})
	alice, late := "Bearer "+v.issue("alice/app", time.Hour), "Bearer "+v.issue("alice/app", time.Hour)
	for d, auth := range map[digest.Digest]string{private: alice, public: ""} {
		repository := map[bool]string{true: "public/app", false: "alice/app"}[auth == ""]
		if err := readAll(patience(t), a, v, repository, d, auth); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a holds all", func() bool {
		p, _ := a.Task(taskOf(t, private))
		q, _ := a.Task(taskOf(t, public))
		return p.Complete && q.Complete
	})
	seed.Stop()
	v.set(func() { v.down = true })
	check := func(n *Node, door string, want map[[2]string]int) {
		t.Helper()
		for k, status := range want {
			repository, d := k[0], private
			if repository == "public/app" {
				d = public
			}
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				q := request{method: method, repository: repository, kind: "blobs", digest: d, authorization: k[1], registry: v.host}
				got := q.do(t, door, true)
				if got.status != status || status == 200 && method == http.MethodGet && got.body != d {
					t.Errorf("%s: %s of %s: %+v, want %d", n.ID, method, repository, got, status)
				}
			}
		}
	}
	want := map[[2]string]int{
		{"alice/app", alice}: 200, {"alice/app", late}: 503, {"alice/app", ""}: 503, {"public/app", ""}: 200, {"public/app", alice}: 200, {"bob/app", alice}: 503,
	}
	check(a, doorOf(t, a), want)
	// Another node never heard of alice, but takes the public content from a.
	b := c.Start(pki.Node, "b", Options{Access: &ask})
	want[[2]string{"alice/app", alice}] = 503
	check(b, doorOf(t, b), want)
	// What a process remembers of credentials ends with it, what was public does not.
	a.Stop()
	a = c.Start(pki.Node, "a", Options{Access: &ask})
	check(a, doorOf(t, a), want)
}
