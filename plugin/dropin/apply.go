package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
)

// Apply writes a plan of Init, and first, below the directory dir, what was there.
// When it fails, what it wrote is taken back.
func (p *Plan) Apply(dir string) (err error) {
	if len(p.Changes) == 0 {
		return nil
	}
	r, err := loadRecord(dir)
	if err != nil {
		return err
	}
	if err := r.mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("keep what was there: %w", err)
	}
	for _, c := range p.Changes {
		if err := r.keep(c); err != nil {
			return fmt.Errorf("keep what was there: %w", err)
		}
	}
	// The record is written before the first file that it tells how to restore.
	for _, c := range p.Changes {
		if err := r.mkdir(filepath.Dir(c.Path), 0o755); err != nil {
			return errors.Join(fmt.Errorf("write containerd's configuration: %w", err), r.save())
		}
	}
	if err := r.save(); err != nil {
		return fmt.Errorf("keep what was there: %w", err)
	}
	for i, c := range p.Changes {
		if err := replace(c.Path, c.After, r.find(c.Path), false); err != nil {
			err = fmt.Errorf("write containerd's configuration: %w", err)
			for _, done := range slices.Backward(p.Changes[:i]) {
				err = errors.Join(err, replace(done.Path, done.Before, r.find(done.Path), false))
			}
			return err
		}
	}
	return nil
}

// replace writes a file or takes it away. A file that was there keeps its mode and
// owner, and its time where it is restored.
func replace(path string, text []byte, f *kept, restored bool) error {
	if text == nil {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, syncDir(filepath.Dir(path)))
	}
	like := kept{Mode: 0o644, UID: -1, GID: -1}
	if f.Existed {
		if like = *f; !restored {
			like.Modified = time.Time{}
		}
	}
	return write(path, text, &like)
}

// Removal is what brings back what was there before init.
type Removal struct {
	Plan
	record *record
}

// Remove computes how to restore every byte from below dir. It writes nothing. A file
// that was changed after init wrote it is ErrFailedPrecondition, unless force gives
// its changes up. Without anything to restore the plan is empty.
func Remove(dir string, force bool) (*Removal, error) {
	r, err := loadRecord(dir)
	if err != nil {
		return nil, err
	}
	rm := &Removal{record: r}
	var changed []error
	for _, f := range slices.Backward(r.Files) {
		now, err := view{}.read(f.Path)
		if err != nil {
			return nil, err
		}
		before, err := r.before(f)
		if err != nil {
			return nil, err
		}
		if s := sum(now); s != f.After && s != f.Before {
			changed = append(changed, fmt.Errorf("%s was changed after init", f.Path))
		}
		rm.add(f.Path, now, before)
		rm.Restart = rm.Restart || filepath.Base(f.Path) != "hosts.toml"
	}
	if len(changed) > 0 && !force {
		return nil, fmt.Errorf("%w: take the change back, or restore what was there before init by --force: %w", errors.Join(changed...), errdefs.ErrFailedPrecondition)
	}
	return rm, nil
}

// Empty reports that init has nothing to take away here.
func (r *Removal) Empty() bool { return len(r.record.Files) == 0 }

// Apply restores the files and takes the record and the directories that init made
// away, those that hold something else now excepted.
func (r *Removal) Apply() error {
	for _, c := range r.Changes {
		if err := replace(c.Path, c.After, r.record.find(c.Path), true); err != nil {
			return fmt.Errorf("restore containerd's configuration: %w", err)
		}
	}
	if r.Empty() {
		return nil
	}
	var errs []error
	remove := func(path string) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("take the record away: %w", err))
		}
	}
	remove(filepath.Join(r.record.dir, manifestName)) // without it there is no record
	for _, f := range r.record.Files {
		if f.Copy != "" {
			remove(filepath.Join(r.record.dir, f.Copy))
		}
	}
	for _, d := range slices.Backward(r.record.Directories) {
		os.Remove(d) // not empty: it holds what is not ours
	}
	return errors.Join(errs...)
}
