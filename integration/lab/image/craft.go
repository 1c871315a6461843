package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Crafted is an image made by hand, entry by entry: small, and as odd or wrong as
// a test wants it.
type Crafted struct {
	Layers []CraftedLayer
	Cmd    []string
	// Annotations are the manifest's.
	Annotations map[string]string
}

// CraftedLayer is one layer as the registry shall have it.
type CraftedLayer struct {
	Blob      []byte
	MediaType types.MediaType
	// Diff is its diffID in the config.
	Diff v1.Hash
	// Annotations are those of its descriptor in the manifest.
	Annotations map[string]string
}

// Entry is one entry of a layer's tar.
type Entry struct {
	tar.Header
	Content []byte
}

// Tar writes entries as they are: with names that climb out, if they do.
func Tar(entries ...Entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Header.Size = int64(len(e.Content))
		if err := w.WriteHeader(&e.Header); err != nil {
			return nil, fmt.Errorf("tar: %s: %w", e.Name, err)
		}
		if _, err := w.Write(e.Content); err != nil {
			return nil, fmt.Errorf("tar: %s: %w", e.Name, err)
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// Pack makes a layer of entries. Compression "" leaves the tar as it is.
func Pack(c Compression, entries ...Entry) (CraftedLayer, error) {
	plain, err := Tar(entries...)
	if err != nil {
		return CraftedLayer{}, err
	}
	return Compress(c, plain)
}

// Compress makes a layer of the bytes of a tar.
func Compress(c Compression, plain []byte) (_ CraftedLayer, err error) {
	l := CraftedLayer{MediaType: types.OCIUncompressedLayer, Blob: plain}
	if l.Diff, _, err = v1.SHA256(bytes.NewReader(plain)); err != nil {
		return CraftedLayer{}, err
	}
	var (
		b bytes.Buffer
		w io.WriteCloser
	)
	switch c {
	case "":
		return l, nil
	case Gzip:
		l.MediaType = types.OCILayer
		w = gzip.NewWriter(&b)
	case Zstd:
		l.MediaType = types.OCILayerZStd
		if w, err = zstd.NewWriter(&b); err != nil {
			return CraftedLayer{}, err
		}
	default:
		return CraftedLayer{}, fmt.Errorf("compression %q", c)
	}
	if _, err := w.Write(plain); err != nil {
		return CraftedLayer{}, err
	}
	err = w.Close()
	l.Blob = b.Bytes()
	return l, err
}

// File is a regular file of root's.
func File(name string, mode int64, content string) Entry {
	return Entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, ModTime: epoch}, []byte(content)}
}

// Dir is a directory.
func Dir(name string, mode int64) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch.Add(time.Hour)}}
}

// Link is a symbolic link.
func Link(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch}}
}

// HardLink is another name for a file.
func HardLink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: epoch}}
}

// Whiteout hides what lower layers have at a path.
func Whiteout(name string) Entry {
	return File(path.Join(path.Dir(name), ".wh."+path.Base(name)), 0o600, "")
}

// Opaque hides all that lower layers have in a directory.
func Opaque(dir string) Entry { return File(path.Join(dir, ".wh..wh..opq"), 0o600, "") }

// busybox is Debian's static one; the package is busybox-static.
const busybox = "/bin/busybox"

// applets are the commands that a container finds in the layer of Busybox.
var applets = []string{"sh", "cat", "echo", "ls", "sleep", "stat", "sync", "test", "touch", "true"}

// Busybox is a layer with a static shell and a few commands, so that containers can run.
func Busybox() (CraftedLayer, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return CraftedLayer{}, fmt.Errorf("install the Debian package busybox-static: %w", err)
	}
	entries := []Entry{Dir("bin", 0o755), File("bin/busybox", 0o755, string(program))}
	for _, name := range applets {
		entries = append(entries, Link("bin/"+name, "busybox"))
	}
	entries = append(entries, Dir("proc", 0o555), Dir("sys", 0o555), Dir("dev", 0o755), Dir("tmp", 0o1777),
		Dir("etc", 0o755), File("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n"))
	return Pack(Gzip, entries...)
}

// Image puts the layers together.
func (c Crafted) Image() (v1.Image, error) {
	config := v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux", Created: v1.Time{Time: epoch}, Config: v1.Config{Cmd: c.Cmd},
		RootFS: v1.RootFS{Type: "layers"},
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, &config)
	if err != nil {
		return nil, fmt.Errorf("craft image: %w", err)
	}
	for _, l := range c.Layers {
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: crafted{l}, Annotations: l.Annotations, MediaType: l.MediaType,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "darter integration/lab/image"},
		})
		if err != nil {
			return nil, fmt.Errorf("craft image: %w", err)
		}
	}
	if len(c.Annotations) > 0 {
		annotated, ok := mutate.Annotations(image, c.Annotations).(v1.Image)
		if !ok {
			return nil, fmt.Errorf("craft image: annotations made it something else")
		}
		image = annotated
	}
	return image, nil
}

// crafted is a v1.Layer that says what its author wants.
type crafted struct{ CraftedLayer }

func (c crafted) Digest() (v1.Hash, error) {
	sum, _, err := v1.SHA256(bytes.NewReader(c.Blob))
	return sum, err
}

func (c crafted) DiffID() (v1.Hash, error) { return c.Diff, nil }

func (c crafted) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(c.Blob)), nil
}

// Uncompressed is never asked for: layers are pushed as they are.
func (c crafted) Uncompressed() (io.ReadCloser, error) { return c.Compressed() }

func (c crafted) Size() (int64, error) { return int64(len(c.Blob)), nil }

func (c crafted) MediaType() (types.MediaType, error) { return c.CraftedLayer.MediaType, nil }
