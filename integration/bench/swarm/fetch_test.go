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
	"github.com/zeebo/blake3"
)

func TestFetch(t *testing.T) {
	contents := map[string][]byte{}
	var layers []layer
	var args []string
	for i, size := range []int64{0, 1, 3 << 20} {
		content, err := io.ReadAll(randomBytes(uint64(i), size))
		if err != nil || int64(len(content)) != size {
			t.Fatalf("%d random bytes: %d, %v", size, len(content), err)
		}
		l := layerOf(content)
		contents["/v2/x/blobs/"+l.Digest.String()] = content
		layers, args = append(layers, l), append(args, l.argument())
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
	if err := fetchMain(t.Context(), base, "?ns=r", append([]string{dir}, args...), gate, &out); err != nil {
		t.Fatal(err)
	}
	var said fetched
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		t.Fatal(err)
	}
	if len(said.Layers) != 3 || said.Start < before || said.last() < said.Start || said.last() > monotonic() {
		t.Errorf("says %s", out.String())
	}
	for _, l := range layers {
		path := filepath.Join(dir, l.Digest.Encoded())
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, contents["/v2/x/blobs/"+l.Digest.String()]) {
			t.Errorf("%s: %d bytes, %v", l.Digest, len(got), err)
		}
		if err := verify(path, l.Digest); err != nil {
			t.Error(err)
		}
	}
	if err := verify(filepath.Join(dir, layers[0].Digest.Encoded()), layers[1].Digest); err == nil {
		t.Error("a wrong digest is verified")
	}

	other := layerOf([]byte("other"))
	contents["/v2/x/blobs/"+other.Digest.String()] = []byte("not it")
	for what, arg := range map[string]string{
		"the body's BLAKE3 is": other.argument(),
		"404":                  layerOf([]byte("absent")).argument(),
		"want <digest>=":       "sha256:00=00",
	} {
		err := fetchMain(t.Context(), base, "?ns=r", []string{dir, arg}, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one with %q", err, what)
		}
	}
}

// layerOf is the layer that has some content.
func layerOf(content []byte) layer {
	sum := blake3.New()
	_, _ = sum.Write(content)
	return layer{digest.FromBytes(content), sumOf(sum), int64(len(content))}
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
	err := fetchMain(t.Context(), origin.URL+"/", "", []string{t.TempDir(), layerOf([]byte("few")).argument()}, strings.NewReader(""), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("error %v", err)
	}
}
