package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Files of a generated image.
const (
	largeFile  = "large"
	randomFile = "random"
	smallDir   = "small"
	firstFile  = "first" // what a container reads first
	goRoot     = "usr/local/go"
)

const (
	smallSize = 8 << 10 // of a small file, on average, bytes
	moreSize  = 4 << 20 // of a file that fills up the image, bytes
)

// recipe says what files an image has. The same recipe gives the same files.
type recipe struct {
	Name   string
	Small  int   // small files, smallSize on average
	Large  int64 // bytes of one file
	Random int64 // bytes of another
	More   int64 // bytes of files of moreSize together
	Go     bool  // this machine's Go tree
	Chunk  int   // of the Nydus image, bytes; 0 = the converter's default
}

// epoch is the time of all generated files.
var epoch = time.Unix(1_700_000_000, 0)

// layers are what the image's layers hold, the lowest first. Each writes the entries of
// one, without the end of the archive.
func (r recipe) layers() []func(context.Context, *tar.Writer) error {
	all := []func(context.Context, *tar.Writer) error{r.base}
	if r.Random > 0 {
		all = append(all, func(ctx context.Context, w *tar.Writer) error { return noise(ctx, w, randomFile, r.Random, 2) })
	}
	if r.Large > 0 {
		all = append(all, func(ctx context.Context, w *tar.Writer) error { return noise(ctx, w, largeFile, r.Large, 3) })
	}
	if r.Go {
		all = append(all, goTree)
	}
	const parts = 4
	for part := range uint64(parts) {
		if r.More == 0 {
			break
		}
		all = append(all, func(ctx context.Context, w *tar.Writer) error {
			if err := dir(w, fmt.Sprintf("more%d", part)); err != nil {
				return err
			}
			for left, i := r.More/parts, uint64(0); left > 0; i++ {
				n := min(left, moreSize)
				if err := noise(ctx, w, fmt.Sprintf("more%d/%d", part, i), n, 100+part*1_000_000+i); err != nil {
					return err
				}
				left -= n
			}
			return nil
		})
	}
	return all
}

// base has a file to read first, and the small ones.
func (r recipe) base(ctx context.Context, w *tar.Writer) error {
	if err := noise(ctx, w, firstFile, smallSize, 1); err != nil {
		return err
	}
	sizes := rand.New(rand.NewPCG(uint64(r.Small), 0))
	for i := range r.Small {
		if i%100 == 0 {
			if err := dir(w, fmt.Sprintf("%s/%d", smallDir, i/100)); err != nil {
				return err
			}
		}
		size := 1 + sizes.Int64N(2*smallSize)
		if err := noise(ctx, w, fmt.Sprintf("%s/%d/%d", smallDir, i/100, i), size, uint64(i)+10_000_000); err != nil {
			return err
		}
	}
	return nil
}

func dir(w *tar.Writer, name string) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: epoch})
}

// noise writes a file that compresses to three quarters: of each 4 KiB one is zeros.
func noise(ctx context.Context, w *tar.Writer, name string, size int64, seed uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	r := rand.NewChaCha8(key)
	block := make([]byte, 64<<10)
	for size > 0 {
		for at := 0; at < len(block); at += 4096 {
			_, _ = r.Read(block[at : at+3072]) // it has no errors
		}
		n := min(size, int64(len(block)))
		if _, err := w.Write(block[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// goTree writes the Go tree that this program was built by.
func goTree(ctx context.Context, w *tar.Writer) error {
	root, err := goRootHere(ctx)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if name == "test" || name == ".git" {
			return fs.SkipDir
		}
		return add(w, path, filepath.Join(goRoot, name), entry)
	})
}

// add writes a file of this machine.
func add(w *tar.Writer, path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = name
	if entry.IsDir() {
		header.Name += "/"
	}
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}

// goRootHere is where this machine's Go tree is.
func goRootHere(ctx context.Context) (string, error) {
	out, err := output(ctx, "go", "env", "GOROOT")
	return strings.TrimSpace(out), err
}

// identity is all that the image's bytes depend on.
func (r recipe) identity() string {
	return fmt.Sprintf("2 %+v %s %s", r, runtime.Version(), runtime.GOARCH)
}
