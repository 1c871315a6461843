package image

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// epoch is the time of every file in an image.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// layer writes one layer: tar → diffID and compressor → digest, size and file.
type layer struct {
	file       *os.File
	compressor io.WriteCloser
	tar        *tar.Writer
	compressed hash.Hash
	plain      hash.Hash
	size       int64
	folders    map[string]bool
	files      []string // names of the regular files so far, the first few
}

func newLayer(file *os.File, c Compression) (*layer, error) {
	l := &layer{file: file, compressed: sha256.New(), plain: sha256.New(), folders: map[string]bool{}}
	var err error
	switch c {
	case Gzip:
		l.compressor, err = gzip.NewWriterLevel((*counting)(l), gzip.BestSpeed)
	case Zstd:
		l.compressor, err = zstd.NewWriter((*counting)(l), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	default:
		err = fmt.Errorf("compression %q", c)
	}
	if err != nil {
		return nil, err
	}
	l.tar = tar.NewWriter(io.MultiWriter(l.plain, l.compressor))
	return l, nil
}

// counting is where a layer's compressed bytes go.
type counting layer

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	c.size += int64(n)
	c.compressed.Write(b[:n])
	return n, err
}

// header writes a tar header after those of the folders above it.
func (l *layer) header(h *tar.Header) error {
	if err := l.folder(path.Dir(h.Name)); err != nil {
		return err
	}
	h.ModTime = epoch
	return l.tar.WriteHeader(h)
}

func (l *layer) folder(name string) error {
	if name == "." || name == "/" || l.folders[name] {
		return nil
	}
	l.folders[name] = true
	return l.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

// add copies a file of the machine to prefix/<its path>. A file that cannot be
// read is left out.
func (l *layer) add(prefix string, f source) error {
	name := strings.TrimPrefix(path.Join(prefix, filepath.ToSlash(f.path)), "/")
	mode := int64(f.info.Mode().Perm() & 0o755)
	if f.info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(f.path)
		if err != nil {
			return nil //nolint:nilerr // left out
		}
		return l.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return nil //nolint:nilerr // left out
	}
	return l.write(name, mode, content)
}

func (l *layer) write(name string, mode int64, content []byte) error {
	if len(l.files) < 4 {
		l.files = append(l.files, name)
	}
	if err := l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := l.tar.Write(content)
	return err
}

// links adds a hard link and a symbolic link to the layer's first file.
func (l *layer) links(n int) error {
	if len(l.files) == 0 {
		return nil
	}
	hard := tar.Header{Typeflag: tar.TypeLink, Name: fmt.Sprintf("links/%d.hard", n), Linkname: l.files[0], Mode: 0o644}
	if err := l.header(&hard); err != nil {
		return err
	}
	return l.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("links/%d.symbolic", n), Linkname: "../" + l.files[0], Mode: 0o777})
}

// close finishes the layer and returns its digest and diffID.
func (l *layer) close() (blob, diff digest.Digest, err error) {
	for _, closer := range []io.Closer{l.tar, l.compressor, l.file} {
		if err := closer.Close(); err != nil {
			return "", "", err
		}
	}
	return digest.NewDigest(digest.SHA256, l.compressed), digest.NewDigest(digest.SHA256, l.plain), nil
}
