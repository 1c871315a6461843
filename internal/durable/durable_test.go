package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"old and long", "new"} {
		if err := WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if err != nil || serr != nil || string(got) != text || info.Mode() != 0o640 {
			t.Errorf("%q, %v, %v, %v, want %q", got, info.Mode(), err, serr, text)
		}
	}
	// What cannot be replaced stays, and nothing else is left.
	at := filepath.Join(dir, "d")
	if err := os.MkdirAll(filepath.Join(at, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(at, nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("written where there is no directory")
	}
}
