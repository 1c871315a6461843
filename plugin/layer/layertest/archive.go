// Package layertest makes the tar archives of layers for tests, among them ones with
// everything that an unpack can get wrong, and looks at what came of them.
package layertest

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Media types of layers.
const (
	TypeTar  = "application/vnd.oci.image.layer.v1.tar"
	TypeGzip = TypeTar + "+gzip"
	TypeZstd = TypeTar + "+zstd"
)

// Old is the time of entries that say none.
var Old = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

// Archive makes a tar. A header without a type is a regular file.
func Archive(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := e.write(w); err != nil {
			t.Fatalf("entry %q: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Entry is a tar header with its contents.
type Entry struct {
	tar.Header
	Body string
}

func (e Entry) write(w *tar.Writer) error {
	h := e.Header
	if h.Typeflag == tar.TypeXGlobalHeader {
		return w.WriteHeader(&h)
	}
	h.Size = int64(len(e.Body))
	if h.ModTime.IsZero() {
		h.ModTime = Old
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	_, err := w.Write([]byte(e.Body))
	return err
}

func File(name, body string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeReg}, body}
}

func Dir(name string, mode int64) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func Symlink(name, target string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

func Hardlink(name, target string) Entry {
	return Entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func Device(name string, kind byte, major, minor int64) Entry {
	return Entry{tar.Header{Name: name, Typeflag: kind, Devmajor: major, Devminor: minor}, ""}
}

// With sets extended attributes.
func (e Entry) With(xattrs map[string]string) Entry {
	e.PAXRecords = map[string]string{}
	for k, v := range xattrs {
		e.PAXRecords["SCHILY.xattr."+k] = v
	}
	return e
}

// Owned sets the owner.
func (e Entry) Owned(uid, gid int) Entry { e.Uid, e.Gid = uid, gid; return e }

// Perm sets the mode.
func (e Entry) Perm(mode int64) Entry { e.Mode = mode; return e }

// At sets the time of modification, to the nanosecond.
func (e Entry) At(mtime time.Time) Entry { e.ModTime, e.Format = mtime, tar.FormatPAX; return e }

func Gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func Zstded(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, o...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
