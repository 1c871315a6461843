package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

const (
	// noteName is a file beside a bootstrap layer's files.
	noteName = "nydus.json"
	// besideName is the bootstrap of a Nydus image that stands for an ordinary layer.
	besideName = "image.boot"
)

// note is what a lazy image's mount needs to know. It lies beside the files of its
// bootstrap layer, where no image can write, and becomes part of the snapshot with them.
type note struct {
	Image      string          `json:"image"` // as pulled, for people
	Registry   string          `json:"registry"`
	Repository string          `json:"repository"`
	Manifest   digest.Digest   `json:"manifest,omitempty"`
	Blobs      []digest.Digest `json:"blobs,omitempty"`
	Beside     bool            `json:"beside,omitempty"` // the bootstrap is besideName, not one of the files
}

func (n note) write(dir string) error { return writeNote(dir, noteName, n) }

// bootstrapOf returns the bootstrap of a snapshot's directory.
func (n note) bootstrapOf(dir string) (string, error) {
	if n.Beside {
		return filepath.Join(dir, besideName), nil
	}
	return bootstrapPath(files(dir))
}

// readNote returns the note in a snapshot's directory; found is false where it is no
// bootstrap layer.
func readNote(dir string) (n note, found bool, err error) {
	found, err = readNoteAs(dir, noteName, &n)
	return n, found, err
}

func writeNote(dir, name string, n any) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), append(b, '\n'), 0o600)
}

func readNoteAs(dir, name string, n any) (found bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, n)
	}
	if err != nil {
		return false, fmt.Errorf("read %s of %s: %w", name, dir, err)
	}
	return true, nil
}
