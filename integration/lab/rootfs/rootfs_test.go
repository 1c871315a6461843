package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newTree makes a small tree with fixed times.
func newTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := time.Unix(1_700_000_000, 5)
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(dir, "d/a"), []byte("x"), 0o644),
		os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/b")),
		os.Symlink("a", filepath.Join(dir, "d/l")),
		os.Chtimes(filepath.Join(dir, "d/a"), at, at),
		os.Remove(filepath.Join(dir, "d/l")),
		os.Chtimes(filepath.Join(dir, "d"), at, at),
		os.Chtimes(dir, at, at),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompare(t *testing.T) {
	want, err := Read(newTree(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		says   string
	}{
		"same":    {func(string) error { return nil }, ""},
		"content": {func(d string) error { return os.WriteFile(d+"/d/a", []byte("y"), 0o644) }, "d/a: "},
		"mode":    {func(d string) error { return os.Chmod(d+"/d", 0o700) }, "d: mode 40700"},
		"time":    {func(d string) error { return os.Chtimes(d+"/d/b", time.Unix(0, 0), time.Unix(0, 0)) }, "time 0.0"},
		"missing": {func(d string) error { return os.Remove(d + "/d/b") }, "d/b: missing"},
		"extra":   {func(d string) error { return os.Symlink("x", d+"/s") }, "s: too much"},
		"link apart": {func(d string) error {
			return errors.Join(os.Remove(d+"/d/b"), os.WriteFile(d+"/d/b", []byte("x"), 0o644))
		}, "links 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTree(t)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			got, err := Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = Compare(got, want)
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent folder has a tree")
	}
}
