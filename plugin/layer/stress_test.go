package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// needStress skips a test that takes minutes, unless `make stress` runs it.
func needStress(t *testing.T) {
	t.Helper()
	if os.Getenv("DARTER_STRESS") == "" {
		t.Skip("takes minutes: make stress PKG=./plugin/layer")
	}
}

// TestStressMillionFiles unpacks 1,000,000 small files; it needs as many inodes.
func TestStressMillionFiles(t *testing.T) {
	needStress(t)
	needRoot(t)
	const files, perDir = 1_000_000, 1000
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(manyFiles(pw, files, perDir)) }()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	res, err := Unpack(t.Context(), pr, typeGzip, t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	if res.Files != files || len(res.Implicit) != files/perDir {
		t.Errorf("%d files, %d implied directories", res.Files, len(res.Implicit))
	}
	const most = 64 << 10 // KiB
	if grown := after.Maxrss - before.Maxrss; grown > most {
		t.Errorf("grew by %d KiB", grown)
	}
	t.Logf("resident: %d KiB before, %d KiB at most", before.Maxrss, after.Maxrss)
}

// manyFiles writes a compressed archive of files of a byte each.
func manyFiles(out io.Writer, files, perDir int) error {
	zw := gzip.NewWriter(out)
	w := tar.NewWriter(zw)
	for i := range files {
		h := tar.Header{Name: fmt.Sprintf("d%d/file-%d", i/perDir, i), Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := w.Write([]byte("x")); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), zw.Close())
}
