package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/log"

	"github.com/darter-p2p/darter/internal/durable"
	"github.com/darter-p2p/darter/internal/pki"
)

// maxRevoked bounds the file of what was revoked, in bytes.
const maxRevoked = 16 << 20

// Revoked is what the manager said last of revoked certificates, in force in an identity
// and in a file: a restart while the manager is away lets nobody back in. The file has one
// serial number a line.
type Revoked struct {
	id   *pki.Identity
	path string

	mu   sync.Mutex
	last []string
}

// Restore puts the file's list in force. A file that cannot be read is logged and ignored:
// the manager will say it again.
func Restore(ctx context.Context, id *pki.Identity, path string) *Revoked {
	r := &Revoked{id: id, path: path}
	serials, err := readSerials(path)
	if err != nil {
		log.G(ctx).WithError(err).Warn("What was revoked cannot be read")
		return r
	}
	r.last = serials
	id.SetRevoked(serials)
	return r
}

// Set puts a list in force, and then on disk.
func (r *Revoked) Set(ctx context.Context, serials []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(serials, r.last) {
		return
	}
	r.id.SetRevoked(serials)
	r.last = slices.Clone(serials)
	log.G(ctx).WithField("certificates", len(serials)).Info("The manager changed what is revoked")
	if err := writeSerials(r.path, serials); err != nil {
		log.G(ctx).WithError(err).Error("What was revoked cannot be kept on disk")
	}
}

func readSerials(path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRevoked {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), maxRevoked)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text)), nil
}

func writeSerials(path string, serials []string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(strings.Join(append(slices.Clone(serials), ""), "\n")), 0o600)
}
