package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/plugin/layer/layertest"
)

// fuzzLimit keeps a bomb of the fuzzer's within what a scratch directory bears, in bytes.
const fuzzLimit = 64 << 10

// FuzzUnpack gives arbitrary bytes: nothing outside changes, nothing panics, it ends.
// Without root most entries end at their owner; what came before them counts.
func FuzzUnpack(f *testing.F) {
	plain := archiveOf(f, dir("d", 0o755), file("d/f", "x"), symlink("l", "../outside"), file("l/victim", "x"),
		hardlink("h", "d/f"), file("d/.wh.x", ""), file(".wh..wh..opq", ""))
	for _, b := range [][]byte{
		plain, gzipped(f, plain), zstded(f, plain), sparseArchive(f, 1<<20), {},
		archiveOf(f, file("f", "x").With(map[string]string{"user.a": "b"})),
		archiveOf(f, device("p", tar.TypeFifo, 0, 0), file(strings.Repeat("n/", 120)+"f", "x")),
	} {
		f.Add(b, true, false)
		f.Add(b, false, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, packed, bottom bool) {
		if len(b) > fuzzLimit {
			return
		}
		s := newSite(t)
		mediaType := typeTar
		if packed {
			mediaType = typeGzip
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		res, err := Unpack(ctx, bytes.NewReader(b), mediaType, s.dir, Options{Bottom: bottom})
		s.check(t)
		if err != nil {
			return
		}
		below := t.TempDir()
		if err := Settle(ctx, s.dir, res.Implicit, []string{below, s.dir}); err != nil {
			t.Logf("settle: %v", err)
		}
		s.check(t)
	})
}

// FuzzEntries makes a valid archive out of a few words, so that the fuzzer's changes are
// changes of meaning, and compares the outcome with containerd's.
func FuzzEntries(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: sets owners, devices and trusted attributes")
	}
	f.Add([]byte("\x00\x00\x01\x02\x01\x02\x03\x04\x02\x00\x04\x0b"))
	f.Add([]byte("\x01\x00\x06\x04\x00\x00\x02\x04\x00\x06\x01\x05\x03\x00\x07\x00"))
	f.Add([]byte("\x02\x00\x06\x0b\x00\x00\x01\x00\x03\x02\x06\x0c\x00\x09\x06\x00"))
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 4*40 {
			return
		}
		b := archiveOf(t, layertest.Entries(program)...)
		start := time.Now().Add(-time.Second)
		for _, bottom := range []bool{false, true} {
			s := newSite(t)
			_, err := Unpack(t.Context(), bytes.NewReader(b), typeTar, s.dir, Options{Bottom: bottom})
			s.check(t)
			var opts []archive.ApplyOpt
			if !bottom {
				opts = append(opts, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout))
			}
			theirs := filepath.Join(t.TempDir(), "layer")
			if err := os.Mkdir(theirs, 0o755); err != nil {
				t.Fatal(err)
			}
			_, their := archive.Apply(t.Context(), theirs, bytes.NewReader(b), opts...)
			if (err == nil) != (their == nil) {
				t.Fatalf("bottom=%v: we say %v, containerd %v", bottom, err, their)
			}
			if err != nil {
				if !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
					t.Errorf("error without its class: %v", err)
				}
				continue
			}
			compare(t, "tree", look(t, s.dir, start), look(t, theirs, start))
		}
	})
}
