package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/darter-p2p/darter/internal/process"
)

func TestParseChunkSize(t *testing.T) {
	for s, want := range map[string]int{
		"64KiB": 64 << 10, "256KiB": 256 << 10, "1MiB": 1 << 20, "131072": 128 << 10,
		"32KiB": 0, "2MiB": 0, "100KiB": 0, "": 0, "KiB": 0, "-64KiB": 0, "1MB": 0, "9223372036854775807KiB": 0, "0": 0,
	} {
		got, err := parseChunkSize(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestConvert(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	writeLayout(t, src)
	names := filepath.Join(dir, "names")
	if err := os.WriteFile(names, []byte("/etc/with, a comma\n\nhello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"oci:" + src}, process.ExitUsage},
		{[]string{"oci:" + src, "oci:" + dst, "--chunk-size", "3KiB"}, process.ExitUsage},
		{[]string{"oci:" + src, "UPPER//case"}, process.ExitUsage},
		{[]string{"oci:" + src, "oci:" + dst, "--prefetch-from", dir + "/none"}, process.ExitUsage},
		{[]string{"oci:" + dir + "/none", "oci:" + dst}, process.ExitNotFound},
		{[]string{"oci:" + src, "oci:" + dst, "--platform", "plan9/mips"}, process.ExitNotFound},
		{[]string{"oci:" + src, "oci:" + dst, "--platform", "linux/amd64", "--prefetch", "/hello", "--prefetch-from", names}, process.ExitOK},
		{[]string{"oci:" + dst, "oci:" + src, "--platform", "linux/amd64"}, process.ExitFailure}, // it is one already
	} {
		var out, notes bytes.Buffer
		args := append([]string{"convert", "--work-dir", dir}, c.args...)
		err := command(&out, &notes, args).ExecuteContext(t.Context())
		if exitCode(err) != c.code {
			t.Errorf("%v: exit code %d, want %d: %v", args, exitCode(err), c.code, err)
		}
		if said := strings.Contains(notes.String(), "1 paths are read first; the image has no /etc/with, a comma, and misses 1 in all"); said != (c.code == process.ExitOK) {
			t.Errorf("%v said %q", args, notes.String())
		}
		if printed := strings.HasPrefix(out.String(), "oci:"+dst+"@sha256:"); printed != (c.code == process.ExitOK) {
			t.Errorf("%v printed %q; %s", args, out.String(), notes.String())
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "darter-convert-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// writeLayout makes an OCI layout with an index of one image.
func writeLayout(t *testing.T, dir string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "hello", Mode: 0o644, Size: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "world"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
}
