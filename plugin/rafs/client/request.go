package client

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// maxBlobs is how many blobs a request may name.
const maxBlobs = 4096

// Request says what to mount, and where.
type Request struct {
	// ID names the mount: 1 to 128 letters, digits, '.', '_' and '-', of which the first
	// is a letter or a digit.
	ID string `json:"id"`
	// Bootstrap is the absolute path of the image's RAFS v6 bootstrap. It is copied: the
	// file may go away when Mount has returned.
	Bootstrap string `json:"bootstrap"`
	// Mountpoint is the absolute path of a directory that exists.
	Mountpoint string `json:"mountpoint"`
	// Registry and Repository are where the blobs are read, as containerd names them
	// ("docker.io", "library/nginx").
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	// Manifest is the image's own, of the same repository; "" = not known. A registry that
	// has lost a blob is asked for it, whether the reader may have the blob.
	Manifest digest.Digest `json:"manifest,omitempty"`
	// Image is the reference that people know the image by; it is for logs and lists.
	Image string `json:"image,omitempty"`
	// Blobs are the layers of the image's own manifest: the bootstrap may name no other.
	Blobs []digest.Digest `json:"blobs"`
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// ValidID reports whether a mount may be named so.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// Validate reports everything that cannot be right, as ErrInvalidArgument.
func (r Request) Validate() error {
	var errs []error
	if !ValidID(r.ID) {
		errs = append(errs, fmt.Errorf("id %q: want 1 to 128 of [A-Za-z0-9._-]", r.ID))
	}
	for _, p := range []struct{ what, path string }{{"bootstrap", r.Bootstrap}, {"mountpoint", r.Mountpoint}} {
		if !filepath.IsAbs(p.path) || filepath.Clean(p.path) != p.path {
			errs = append(errs, fmt.Errorf("%s %q: want an absolute, clean path", p.what, p.path))
		}
	}
	if r.Registry == "" || r.Repository == "" {
		errs = append(errs, errors.New("registry or repository is empty"))
	}
	if len(r.Blobs) > maxBlobs {
		errs = append(errs, fmt.Errorf("%d blobs, want at most %d", len(r.Blobs), maxBlobs))
	}
	if d := r.Manifest; d != "" && (d.Validate() != nil || d.Algorithm() != digest.SHA256) {
		errs = append(errs, fmt.Errorf("manifest %q: want sha256:<64 hex digits>", d))
	}
	for _, d := range r.Blobs {
		if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
			errs = append(errs, fmt.Errorf("blob %q: want sha256:<64 hex digits>", d))
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mount request: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Mode is how this machine mounts images.
type Mode string

const (
	// FileBacked mounts the bootstrap file itself (Linux 6.12 and later).
	FileBacked Mode = "file-backed"
	// Loop puts loop devices below the mount.
	Loop Mode = "loop"
	// Refused is a machine that mounts none: no EROFS, no FUSE, or no permission.
	Refused Mode = "refused"
)

// Status is the state of the mount server.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Mode    Mode      `json:"mode"`
	Reason  string    `json:"reason,omitempty"` // why the mode is Refused, or not FileBacked
	Cache   Cache     `json:"cache"`
}

// Cache is the space of the chunks, in bytes.
type Cache struct {
	Dir    string `json:"dir"`
	Quota  int64  `json:"quota"`  // 0 = none
	Used   int64  `json:"used"`   // reserved by all blobs held
	Pinned int64  `json:"pinned"` // of Used, what live mounts need
}

// Mount is a live mount.
type Mount struct {
	ID         string    `json:"id"`
	Image      string    `json:"image,omitempty"`
	Mountpoint string    `json:"mountpoint"`
	Since      time.Time `json:"since"`
	Blobs      []Blob    `json:"blobs"`
}

// Complete reports whether the mount needs nobody any more.
func (m Mount) Complete() bool {
	for _, b := range m.Blobs {
		if b.Held < b.Chunks {
			return false
		}
	}
	return true
}

// Blob is a data blob of a mount.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // uncompressed, in bytes
	Chunks int           `json:"chunks"`
	Held   int           `json:"held"`  // chunks that are here and verified
	Plain  bool          `json:"plain"` // mounted from a complete file, without FUSE
}
