package dropin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// manifestName is the file of a record; the copies of what was there lie beside it.
const manifestName = "manifest.json"

// record says what was there before init, so that it can be brought back.
type record struct {
	Version int     `json:"version"` // 1
	Files   []*kept `json:"files"`
	// Directories are those that init made, parents first.
	Directories []string `json:"directories"`

	dir string
}

// kept is one file that init changed or made.
type kept struct {
	Path     string    `json:"path"`
	Existed  bool      `json:"existed"`
	Copy     string    `json:"copy,omitempty"` // its name beside the manifest
	Before   string    `json:"before,omitempty"`
	After    string    `json:"after"` // sha256, in hex, like Before
	Mode     uint32    `json:"mode,omitempty"`
	UID      int       `json:"uid"`
	GID      int       `json:"gid"`
	Modified time.Time `json:"modified,omitzero"`
}

func loadRecord(dir string) (*record, error) {
	r := &record{Version: 1, dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was there before: %w", err)
	}
	if err := r.parse(text); err != nil {
		return nil, fmt.Errorf("read what was there before: %s: %w", filepath.Join(dir, manifestName), err)
	}
	return r, nil
}

// parse reads a manifest and checks what files are written by.
func (r *record) parse(text []byte) error {
	if err := json.Unmarshal(text, r); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if r.Version != 1 {
		return fmt.Errorf("version %d, want 1: use the darter that wrote it: %w", r.Version, errdefs.ErrFailedPrecondition)
	}
	for _, f := range r.Files {
		if f == nil || !filepath.IsAbs(f.Path) || f.Existed != (f.Copy != "") || f.Copy != filepath.Base(f.Copy) && f.Copy != "" {
			return fmt.Errorf("an entry that init does not write: %w", errdefs.ErrDataLoss)
		}
	}
	for _, d := range r.Directories {
		if !filepath.IsAbs(d) {
			return fmt.Errorf("a directory that init does not write: %w", errdefs.ErrDataLoss)
		}
	}
	return nil
}

func (r *record) find(path string) *kept {
	for _, f := range r.Files {
		if f.Path == path {
			return f
		}
	}
	return nil
}

// keep copies what a change replaces, unless it was kept by an earlier init. It
// returns ErrAborted when the file is not any more what the plan was made for.
func (r *record) keep(c Change) error {
	now, err := view{}.read(c.Path)
	if err != nil {
		return err
	}
	if sum(now) != sum(c.Before) {
		return fmt.Errorf("%s has just been changed by somebody else: %w", c.Path, errdefs.ErrAborted)
	}
	f := r.find(c.Path)
	if f == nil {
		f = &kept{Path: c.Path, Existed: now != nil}
		r.Files = append(r.Files, f)
		if f.Existed {
			info, err := os.Stat(c.Path)
			if err != nil {
				return err
			}
			f.Copy, f.Before = fmt.Sprintf("%04d", len(r.Files)), sum(now)
			f.Mode, f.Modified = uint32(info.Mode().Perm()), info.ModTime()
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				f.UID, f.GID = int(st.Uid), int(st.Gid)
			}
			if err := write(filepath.Join(r.dir, f.Copy), now, &kept{Mode: 0o600, UID: -1, GID: -1}); err != nil {
				return err
			}
		}
	}
	f.After = sum(c.After)
	return nil
}

func (r *record) save() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return write(filepath.Join(r.dir, manifestName), append(text, '\n'), &kept{Mode: 0o600, UID: -1, GID: -1})
}

// before returns what a file held, nil if there was none.
func (r *record) before(f *kept) ([]byte, error) {
	if !f.Existed {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(r.dir, f.Copy))
	if err != nil {
		return nil, fmt.Errorf("read what was there before: %w", err)
	}
	if text == nil {
		text = []byte{}
	}
	if sum(text) != f.Before {
		return nil, fmt.Errorf("the copy of %s in %s is damaged: %w", f.Path, r.dir, errdefs.ErrDataLoss)
	}
	return text, nil
}

// mkdir makes a directory and its parents, and notes those that were not there.
func (r *record) mkdir(dir string, mode fs.FileMode) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := os.Mkdir(missing[i], mode); err != nil {
			return err
		}
		r.Directories = append(r.Directories, missing[i])
	}
	return nil
}

// sum is the sha256 of a file's bytes in hex, "" of no file.
func sum(text []byte) string {
	if text == nil {
		return ""
	}
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// write replaces a file in one step, with the mode, owner and, where given, time of
// like. A UID of -1 leaves the owner.
func write(path string, text []byte, like *kept) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".") // no *.toml: containerd may be reading
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(fs.FileMode(like.Mode)))
	if like.UID >= 0 {
		err = errors.Join(err, f.Chown(like.UID, like.GID))
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil && !like.Modified.IsZero() {
		err = os.Chtimes(f.Name(), like.Modified, like.Modified)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return errors.Join(err, syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
