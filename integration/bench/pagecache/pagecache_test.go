package pagecache

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDrop(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/data"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Drop(dir); err != nil {
		t.Error(err)
	}
	if err := Settle(dir); err != nil {
		t.Error(err)
	}
	absent := filepath.Join(dir, "absent")
	if Drop(absent) == nil || Settle(absent) == nil {
		t.Error("an absent folder is written and dropped")
	}
}
