package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

const (
	typeTar  = "application/vnd.oci.image.layer.v1.tar"
	typeGzip = typeTar + "+gzip"
)

// old is the time of entries that say none.
var old = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

// entry is a tar header with its contents.
type entry struct {
	tar.Header
	body string
}

// archiveOf makes a tar. A header without a type is a regular file.
func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.Typeflag != tar.TypeXGlobalHeader {
			h.Size = int64(len(e.body))
			if h.ModTime.IsZero() {
				h.ModTime = old
			}
			if h.Mode == 0 {
				h.Mode = 0o644
			}
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("entry %q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatalf("entry %q: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg}, body}
}

func dir(name string, mode int64) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func device(name string, kind byte, major, minor int64) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Devmajor: major, Devminor: minor}, ""}
}

// with sets extended attributes.
func (e entry) with(xattrs map[string]string) entry {
	e.PAXRecords = map[string]string{}
	for k, v := range xattrs {
		e.PAXRecords[xattrPrefix+k] = v
	}
	return e
}

func (e entry) owned(uid, gid int) entry { e.Uid, e.Gid = uid, gid; return e }

func (e entry) mode(mode int64) entry { e.Mode = mode; return e }

func (e entry) at(mtime time.Time) entry { e.ModTime, e.Format = mtime, tar.FormatPAX; return e }

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// layerOf is an uncompressed layer in memory.
func layerOf(b []byte) Layer {
	return Layer{MediaType: typeTar, DiffID: digest.FromBytes(b), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b)), nil
	}}
}

// packedTree is a directory as GNU tar packs it.
func packedTree(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tar", append([]string{"-C", dir, "-cf", "-"}, args...)...)
	out, err := cmd.Output()
	if err != nil && len(out) == 0 { // files may change meanwhile, which is a status, too
		t.Fatalf("tar %v: %v", args, err)
	}
	return out
}
