package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
)

// vault is a registry with private repositories, behind a token server of its own.
type vault struct {
	url, host string
	// wantBasic makes it take passwords instead of tokens, opaque gives tokens that do not
	// say their end.
	wantBasic, opaque bool

	mu        sync.Mutex
	contents  map[string][]byte   // by path below /v2/
	public    []string            // repositories
	passwords map[string]string   // of users
	readers   map[string][]string // users of a private repository
	tokens    map[string]grant
	down      bool
	cutAfter  int64 // bytes of a body, and the token that was shown is revoked; 0 = never
	cuts      int   // left
	sent      map[string]int64
	used      []string // tokens shown for bodies, in order
}

type grant struct {
	repository string
	expires    time.Time
}

func newVault(t *testing.T) *vault {
	v := &vault{
		contents: map[string][]byte{}, passwords: map[string]string{}, readers: map[string][]string{},
		tokens: map[string]grant{}, sent: map[string]int64{},
	}
	s := httptest.NewServer(v)
	t.Cleanup(s.Close)
	v.url, v.host = s.URL, strings.TrimPrefix(s.URL, "http://")
	return v
}

// put puts a blob or manifest into a repository.
func (v *vault) put(repository, kind string, data []byte) digest.Digest {
	d := digest.FromBytes(data)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.contents[repository+"/"+kind+"/"+d.String()] = data
	return d
}

// user makes a user who may read a repository.
func (v *vault) user(name, repository string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passwords[name] = name + "-password"
	v.readers[repository] = append(v.readers[repository], name)
}

// issue makes a token for a repository, as the token server does for those who may read it.
func (v *vault) issue(repository string, life time.Duration) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.issueLocked(repository, life)
}

func (v *vault) issueLocked(repository string, life time.Duration) string {
	end := time.Now().Add(life)
	claims, _ := json.Marshal(map[string]any{"exp": end.Unix(), "jti": len(v.tokens), "aud": v.host})
	token := "eyJ." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
	if v.opaque {
		token = fmt.Sprintf("opaque-%d", len(v.tokens))
	}
	v.tokens[token] = grant{repository, end}
	return token
}

func (v *vault) set(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// bodies returns how many bytes of a content were sent from all repositories.
func (v *vault) bodies(d digest.Digest) (n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for path, sent := range v.sent {
		if strings.HasSuffix(path, d.String()) {
			n += sent
		}
	}
	return n
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/token" {
		v.giveToken(w, r)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	repository := path[:max(0, strings.LastIndex(path[:max(0, strings.LastIndexByte(path, '/'))], "/"))]
	if !v.letsIn(repository, r.Header.Get("Authorization")) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="vault",scope="repository:%s:pull"`, v.url, repository))
		if v.wantBasic {
			w.Header().Set("WWW-Authenticate", `Basic realm="vault"`)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`)
		return
	}
	data, ok := v.contents[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	v.giveContent(w, r, path, data)
}

func (v *vault) letsIn(repository, authorization string) bool {
	if slices.Contains(v.public, repository) {
		return true
	}
	if v.wantBasic {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": {authorization}}}).BasicAuth()
		return user != "" && v.passwords[user] == password && slices.Contains(v.readers[repository], user)
	}
	token, _ := strings.CutPrefix(authorization, "Bearer ")
	g, ok := v.tokens[token]
	return ok && g.repository == repository && time.Now().Before(g.expires)
}

func (v *vault) giveToken(w http.ResponseWriter, r *http.Request) {
	scope := strings.Split(r.URL.Query().Get("scope"), ":")
	user, password, known := r.BasicAuth()
	switch {
	case len(scope) != 3:
		http.Error(w, "scope", http.StatusBadRequest)
		return
	case known && (v.passwords[user] == "" || v.passwords[user] != password):
		http.Error(w, "password", http.StatusUnauthorized)
		return
	}
	repository := "" // a token that opens nothing
	if slices.Contains(v.readers[scope[1]], user) {
		repository = scope[1]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": v.issueLocked(repository, 5*time.Minute), "expires_in": 300})
}

func (v *vault) giveContent(w http.ResponseWriter, r *http.Request, path string, data []byte) {
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	w.Header().Set("ETag", `"`+digest.FromBytes(data).String()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	if strings.Contains(path, "/manifests/") {
		w.Header().Set("Content-Type", ociManifest)
	}
	counted := &countedWriter{ResponseWriter: w}
	if r.Method == http.MethodGet {
		shown := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		v.used = append(v.used, shown)
		if v.cuts > 0 && v.cutAfter < int64(len(data)) {
			v.cuts--
			counted.limit = v.cutAfter
			delete(v.tokens, shown)
		}
		defer func() { v.sent[path] += counted.n }()
	}
	http.ServeContent(counted, r, "", time.Time{}, bytes.NewReader(data))
}

// countedWriter counts a body, and breaks it off after limit bytes where that is not 0.
// It hides ReaderFrom.
type countedWriter struct {
	http.ResponseWriter
	n, limit int64
}

func (w *countedWriter) Write(p []byte) (int, error) {
	if w.limit > 0 && w.n+int64(len(p)) > w.limit {
		n, _ := w.ResponseWriter.Write(p[:w.limit-w.n])
		w.n += int64(n)
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// source is a registry source for vaults, a new one for each host.
func (v *vault) source(t *testing.T) func(string) source.Source {
	return func(name string) source.Source {
		s, err := registry.New(registry.Default(), registry.Options{Instance: name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
}
