package layertest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// XattrsOf lists the extended attributes of a file, not of what a link points at, by name.
func XattrsOf(t testing.TB, path string) string {
	t.Helper()
	buf := make([]byte, 128<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return "[]"
	}
	keys := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	sort.Strings(keys)
	var all []string
	for _, k := range keys {
		n, err := unix.Lgetxattr(path, k, buf)
		if err != nil {
			t.Fatalf("%s: xattr %s: %v", path, k, err)
		}
		all = append(all, fmt.Sprintf("%s=%q", k, buf[:n]))
	}
	return "[" + strings.Join(all, " ") + "]"
}

// SumOf is the SHA-256 of a file's bytes. The time of access stays.
func SumOf(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOATIME, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}
