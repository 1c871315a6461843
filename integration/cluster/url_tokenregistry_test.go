package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/pki"
)

// tokenRegistry is Debian's docker-registry with token authentication, a token server for
// it, and a relay before it that counts the bodies of blobs.
type tokenRegistry struct {
	host   string // of the relay
	url    string
	key    *ecdsa.PrivateKey
	cert   []byte            // DER
	users  map[string]string // user → the repository that he may read
	bodies atomic.Int64
	given  atomic.Int64 // tokens
}

const tokenService, tokenIssuer = "registry.test", "issuer.test"

func newTokenRegistry(t *testing.T, users map[string]string) *tokenRegistry {
	t.Helper()
	binary, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("no docker-registry")
	}
	r := &tokenRegistry{users: users}
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if r.cert, err = x509.CreateCertificate(rand.Reader, template, template, &r.key.PublicKey, r.key); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bundle := filepath.Join(dir, "issuer.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert}), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(r.serveToken))
	t.Cleanup(tokens.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q, relativeurls: true}\n"+
		"auth: {token: {realm: %q, service: %q, issuer: %q, rootcertbundle: %q}}\n",
		filepath.Join(dir, "data"), addr, tokens.URL+"/token", tokenService, tokenIssuer, bundle)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", config)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("registry: %s", said.String())
		}
	})
	until(t, "the registry answers", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: addr})
		p.Out.Host = p.In.Host
	}, ModifyResponse: func(resp *http.Response) error {
		if resp.Request.Method == http.MethodGet && resp.StatusCode < 300 && strings.Contains(resp.Request.URL.Path, "/blobs/") {
			resp.Body = countedBody{resp.Body, &r.bodies}
		}
		return nil
	}}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	r.url, r.host = front.URL, strings.TrimPrefix(front.URL, "http://")
	return r
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// serveToken gives a user a token of five minutes for what he may read of what he asks for.
func (r *tokenRegistry) serveToken(w http.ResponseWriter, q *http.Request) {
	user, password, ok := q.BasicAuth()
	if ok && (password != user+"-password" || r.users[user] == "") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var access []map[string]any
	for _, scope := range q.URL.Query()["scope"] {
		for _, one := range strings.Fields(scope) {
			if parts := strings.Split(one, ":"); len(parts) == 3 && r.users[user] == parts[1] && strings.Contains(parts[2], "pull") {
				access = append(access, map[string]any{"type": "repository", "name": parts[1], "actions": []string{"pull"}})
			}
		}
	}
	r.given.Add(1)
	_ = json.NewEncoder(w).Encode(map[string]any{"token": r.token(user, access), "expires_in": 300})
}

// token signs a JWT as docker-registry takes them.
func (r *tokenRegistry) token(user string, access []map[string]any) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now()
	signed := part(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(r.cert)}}) + "." +
		part(map[string]any{
			"iss": tokenIssuer, "sub": user, "aud": tokenService, "jti": fmt.Sprint(now.UnixNano()),
			"exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "access": slices.Concat([]map[string]any{}, access),
		})
	sum := sha256.Sum256([]byte(signed))
	a, b, err := ecdsa.Sign(rand.Reader, r.key, sum[:])
	if err != nil {
		panic(err) // there is randomness
	}
	sig := append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// push puts a blob into a repository.
func (r *tokenRegistry) push(t *testing.T, repository string, data []byte) digest.Digest {
	t.Helper()
	auth := "Bearer " + r.token("admin", []map[string]any{{"type": "repository", "name": repository, "actions": []string{"pull", "push"}}})
	d := digest.FromBytes(data)
	at, err := url.Parse(r.url + "/v2/" + repository + "/blobs/uploads/")
	if err != nil {
		t.Fatal(err)
	}
	send := func(method string, body []byte, want int) {
		q, err := http.NewRequestWithContext(t.Context(), method, at.String(), bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", auth)
		q.Header.Set("Content-Type", "application/octet-stream")
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			said, _ := io.ReadAll(resp.Body)
			t.Fatalf("push: %s: %s", resp.Status, said)
		}
		if at, err = at.Parse(resp.Header.Get("Location")); err != nil {
			t.Fatal(err)
		}
	}
	send(http.MethodPost, nil, http.StatusAccepted)
	query := at.Query()
	query.Set("digest", d.String())
	at.RawQuery = query.Encode()
	send(http.MethodPut, data, http.StatusCreated)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return d
}

// A real registry with token authentication: two users with a repository each, and one
// layer that is in both. Each gets what the registry alone would give him; the registry
// sends each byte once.
func TestTokenRegistry(t *testing.T) {
	r := newTokenRegistry(t, map[string]string{"alice": "alice/app", "bob": "bob/app"})
	data := randomBytes(11, 6<<20)
	d := r.push(t, "alice/app", data)
	r.push(t, "bob/app", data)
	own := r.push(t, "alice/app", randomBytes(12, 1<<20))
	c := New(t)
	c.Registries = func(name string) source.Source {
		s, err := registry.New(registry.Default(), registry.Options{Instance: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	c.Start(pki.Seed, "seed", Options{})
	nodes := []*Node{c.Start(pki.Node, "a", Options{}), c.Start(pki.Node, "b", Options{})}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	alice, bob := basic("alice", "alice-password"), basic("bob", "bob-password")
	v := &vault{host: r.host}
	var all sync.WaitGroup
	for _, n := range nodes {
		for repository, auth := range map[string]string{"alice/app": alice, "bob/app": bob} {
			all.Go(func() {
				if err := readAll(patience(t), n, v, repository, d, auth); err != nil {
					t.Errorf("%s, %s: %v", n.ID, repository, err)
				}
			})
		}
	}
	all.Wait()
	if got, most := r.bodies.Load(), int64(2*len(data)); got > most { // two origins, at most one reading of each
		t.Errorf("the registry sent %d bytes of a layer of %d in two repositories", got, len(data))
	}
	t.Logf("the registry sent %.2f copies of the layer; its server gave %d tokens", float64(r.bodies.Load())/float64(len(data)), r.given.Load())
	if err := readAll(patience(t), nodes[0], v, "alice/app", own, alice); err != nil {
		t.Error(err)
	}
	for name, auth := range map[string]string{"no credential": "", "another user": bob, "a wrong password": basic("alice", "guess"), "a stranger": basic("eve", "eve-password")} {
		for _, n := range nodes {
			err := readAll(patience(t), n, v, "alice/app", own, auth)
			if !errdefs.IsUnauthorized(err) && !errdefs.IsPermissionDenied(err) {
				t.Errorf("%s at %s: %v", name, n.ID, err)
			}
		}
	}
}
