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

// noteName is a file beside a bootstrap layer's files.
const noteName = "nydus.json"

// note is what a lazy image's mount needs to know. It lies beside the files of its
// bootstrap layer, where no image can write, and becomes part of the snapshot with them.
type note struct {
	Image      string          `json:"image"` // as pulled, for people
	Registry   string          `json:"registry"`
	Repository string          `json:"repository"`
	Blobs      []digest.Digest `json:"blobs"`
}

func (n note) write(dir string) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, noteName), append(b, '\n'), 0o600)
}

// readNote returns the note in a snapshot's directory; found is false where it is no
// bootstrap layer.
func readNote(dir string) (n note, found bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, noteName))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	if err != nil {
		return n, false, fmt.Errorf("read %s of %s: %w", noteName, dir, err)
	}
	return n, true, nil
}
