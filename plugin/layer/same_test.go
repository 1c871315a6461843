package layer

import (
	"archive/tar"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// oddities are archives, the lowest first, with everything that an unpack can get wrong.
func oddities(t testing.TB) (layers [][]byte) {
	t.Helper()
	entries := layertest.Oddities()
	entries[0] = append(entries[0], entry{Body: "x", Header: tar.Header{
		Name: "atime", Typeflag: tar.TypeReg, ModTime: layertest.Old, AccessTime: time.Unix(1e9, 123456789), Format: tar.FormatPAX}})
	for _, l := range entries {
		layers = append(layers, archiveOf(t, l...))
	}
	return layers
}

func TestSameAsContainerdOddities(t *testing.T) {
	for _, c := range []struct {
		name string
		pack func([]byte) blob
	}{
		{"tar", func(b []byte) blob { return blob{typeTar, b} }},
		{"gzip", func(b []byte) blob { return blob{typeGzip, gzipped(t, b)} }},
		{"zstd", func(b []byte) blob { return blob{typeZstd, zstded(t, b)} }},
		{"docker", func(b []byte) blob { return blob{"application/vnd.docker.image.rootfs.diff.tar", gzipped(t, b)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers []blob
			for _, b := range oddities(t) {
				layers = append(layers, c.pack(b))
			}
			sameAsContainerd(t, layers)
		})
	}
}

// TestSameAsContainerdReal uses this machine's own system, packed by GNU tar.
func TestSameAsContainerdReal(t *testing.T) {
	realTrees(t,
		[]string{"etc", "usr/bin/passwd", "usr/bin/su", "usr/bin/chage", "usr/share/zoneinfo"},
		[]string{"./src/net", "./src/cmd/go", "./lib"})
}

// TestStressSameAsContainerd takes all of it.
func TestStressSameAsContainerd(t *testing.T) {
	needStress(t)
	realTrees(t, []string{"etc", "usr/bin", "usr/lib/python3", "usr/share", "var/lib/dpkg"}, []string{"."})
}

// realTrees stacks parts of the system and of the Go distribution.
func realTrees(t *testing.T, system, golang []string) {
	needRoot(t)
	first := packed(t, "/", append([]string{"--format=gnu"}, system...)...)
	second := packed(t, goRoot(t), append([]string{"--format=pax", "--xattrs", "--xattrs-include=*"}, golang...)...)
	more := packed(t, "/", "--format=pax", "--no-recursion", "etc/passwd", "usr/share/zoneinfo/UTC", "usr/bin/env")
	odd := oddities(t)
	sameAsContainerd(t, []blob{
		{typeGzip, gzipped(t, first)}, {typeZstd, zstded(t, second)}, {typeGzip, gzipped(t, more)},
		{typeTar, odd[1]}, {typeGzip, gzipped(t, odd[2])},
	})
}

// TestSameAsContainerdSparse has what GNU tar makes of files with holes, and a socket,
// which no archive can hold.
func TestSameAsContainerdSparse(t *testing.T) {
	needRoot(t)
	src := t.TempDir()
	for name, at := range map[string][]int64{"end": {0, 10 << 20}, "none": nil, "many": {1 << 20, 3 << 20, 5<<20 + 7}} {
		f, err := os.Create(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, off := range at {
			if _, err := f.WriteAt([]byte("data"), off); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(20<<20 + 1); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, version := range []string{"0.0", "0.1", "1.0"} {
		t.Run(version, func(t *testing.T) {
			b := packed(t, src, "--format=pax", "--sparse", "--sparse-version="+version, ".")
			if len(b) > 1<<20 {
				t.Fatalf("the archive is not sparse: %d bytes", len(b))
			}
			sameAsContainerd(t, []blob{{typeGzip, gzipped(t, b)}})
		})
	}
}

// packed runs GNU tar. Files may change meanwhile, which tar says by status 1.
func packed(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "-cf", "-"}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("tar %v: %v", args, err)
	}
	return out
}

// goRoot is where the Go distribution lies.
func goRoot(t testing.TB) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return strings.TrimSpace(string(out))
}
