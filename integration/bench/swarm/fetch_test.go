package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestFetch(t *testing.T) {
	contents := map[string][]byte{}
	var digests []string
	for i, size := range []int64{0, 1, 3 << 20} {
		content, err := io.ReadAll(randomBytes(uint64(i), size))
		if err != nil || int64(len(content)) != size {
			t.Fatalf("%d random bytes: %d, %v", size, len(content), err)
		}
		d := digest.FromBytes(content).String()
		contents["/v2/x/blobs/"+d] = content
		digests = append(digests, d)
	}
	opened := false
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := contents[r.URL.Path]
		if !ok || r.URL.RawQuery != "ns=r" || !opened {
			http.Error(w, "no such blob", http.StatusNotFound)
			return
		}
		_, _ = w.Write(content)
	}))
	defer origin.Close()
	base := origin.URL + "/v2/x/blobs/"

	var out bytes.Buffer
	dir := t.TempDir()
	gate := gateFunc(func() { opened = true })
	before := monotonic()
	if err := fetchMain(t.Context(), base, "?ns=r", append([]string{dir}, digests...), gate, &out); err != nil {
		t.Fatal(err)
	}
	var said fetched
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Layers) != 3 || said.Start < before || said.last() < said.Start || said.last() > monotonic() {
		t.Errorf("says %s", out.String())
	}
	for _, d := range digests {
		got, err := os.ReadFile(filepath.Join(dir, digest.Digest(d).Encoded()))
		if err != nil || !bytes.Equal(got, contents["/v2/x/blobs/"+d]) {
			t.Errorf("%s: %d bytes, %v", d, len(got), err)
		}
	}

	other := digest.FromString("other").String()
	contents["/v2/x/blobs/"+other] = []byte("not it")
	for what, d := range map[string]string{"the body's digest is": other, "404": digest.FromString("absent").String()} {
		err := fetchMain(t.Context(), base, "?ns=r", []string{dir, d}, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one with %q", err, what)
		}
	}
}

// gateFunc is a gate that calls a function when it opens.
type gateFunc func()

func (g gateFunc) Read([]byte) (int, error) { g(); return 0, io.EOF }

func TestFetchSaysThatABodyBroke(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "few")
	}))
	defer origin.Close()
	err := fetchMain(t.Context(), origin.URL+"/", "", []string{t.TempDir(), digest.FromString("few").String()}, strings.NewReader(""), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("error %v", err)
	}
}

func TestChill(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/data"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := chill(dir); err != nil {
		t.Error(err)
	}
	if err := chill(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent folder is chilled")
	}
}
