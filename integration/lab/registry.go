package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// RegistryPort is the port of the lab's registry.
const RegistryPort = 5000

// Registry is a real registry (Debian's docker-registry) on a host. Nothing is
// in front of it: its log has the addresses of those who asked.
type Registry struct {
	*Process
	Host *Host
	// Addr is the host and port by which images are named.
	Addr string

	// User and Password are who may read and write it; "" is everybody.
	User, Password string

	mu   sync.Mutex
	mark int64 // requests are reported from this offset of the log
}

const registryConfig = `version: 0.1
log:
  level: error
  accesslog: {disabled: false}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance:
    uploadpurging: {enabled: false}
http:
  addr: %s
  secret: %s
  relativeurls: true
`

// The user of a private registry, and its entry in a file of htpasswd.
const (
	registryUser     = "darter"
	registryPassword = "swordfish"
	registryEntry    = "darter:$2b$05$2idEs9hDbpPAJyN40vfB4e35WnX4ZcdBwrAhEcMjz8VYX5T8pr3QC"
	htpasswdConfig   = "auth:\n  htpasswd: {realm: lab, path: %s}\n"
)

// StartRegistry starts an empty registry on the host, for everybody.
func (h *Host) StartRegistry(ctx context.Context) (*Registry, error) {
	return h.startRegistry(ctx, &Registry{})
}

// StartPrivateRegistry starts an empty registry that asks for a name and a password.
func (h *Host) StartPrivateRegistry(ctx context.Context) (*Registry, error) {
	return h.startRegistry(ctx, &Registry{User: registryUser, Password: registryPassword})
}

func (h *Host) startRegistry(ctx context.Context, r *Registry) (*Registry, error) {
	binary, err := Tool("docker-registry")
	if err != nil {
		return nil, err
	}
	r.Host, r.Addr = h, h.HostPort(RegistryPort)
	config := filepath.Join(h.Dir, "registry.yml")
	text := fmt.Sprintf(registryConfig, strconv.Quote(filepath.Join(h.Data, "registry")), r.Addr, h.lab.ID())
	if r.User != "" {
		users := filepath.Join(h.Dir, "htpasswd")
		text += fmt.Sprintf(htpasswdConfig, strconv.Quote(users))
		if err := os.WriteFile(users, []byte(registryEntry+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r.Process, err = h.Start(ctx, Program{
		Name: "registry", Argv: []string{binary, "serve", config}, Ready: h.AcceptsAt(r.Addr),
	})
	return r, err
}

// Mark makes Requests and BlobRequests forget the requests so far.
func (r *Registry) Mark() error {
	info, err := os.Stat(r.LogPath)
	if err != nil {
		return fmt.Errorf("registry: log: %w", err)
	}
	r.mu.Lock()
	r.mark = info.Size()
	r.mu.Unlock()
	return nil
}

// Requests returns the requests that were answered since the last Mark. A request
// is in the log when its answer ended.
func (r *Registry) Requests() ([]Request, error) {
	text, err := os.ReadFile(r.LogPath)
	if err != nil {
		return nil, fmt.Errorf("registry: log: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return parseAccessLog(text[min(r.mark, int64(len(text))):]), nil
}

// BlobRequests returns the reads of blobs that came from a host since the last Mark.
func (r *Registry) BlobRequests(from *Host) ([]Request, error) {
	all, err := r.Requests()
	if err != nil {
		return nil, err
	}
	var blobs []Request
	for _, request := range all {
		if request.IsBlobRead() && request.From == from.Addr {
			blobs = append(blobs, request)
		}
	}
	return blobs, nil
}
