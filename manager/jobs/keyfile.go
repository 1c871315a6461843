package jobs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadKey reads a Sealer's key from a file, which it makes with a random key where there
// is none. Managers that share a database share the file's content.
func LoadKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		err = makeKey(path, key)
		if errors.Is(err, fs.ErrExist) { // another process was faster
			key, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of job credentials: %w", err)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("key of job credentials: %s has %d bytes, want 32; without it the credentials of waiting jobs are lost", path, len(key))
	}
	return key, nil
}

// makeKey gives a new file its whole content at once.
func makeKey(path string, key []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
