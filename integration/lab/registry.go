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

// StartRegistry starts an empty registry on the host.
func (h *Host) StartRegistry(ctx context.Context) (*Registry, error) {
	binary, err := Tool("docker-registry")
	if err != nil {
		return nil, err
	}
	r := &Registry{Host: h, Addr: h.HostPort(RegistryPort)}
	config := filepath.Join(h.Dir, "registry.yml")
	text := fmt.Sprintf(registryConfig, strconv.Quote(filepath.Join(h.Data, "registry")), r.Addr, h.lab.ID())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r.Process, err = h.Start(ctx, Program{
		Name: "registry", Argv: []string{binary, "serve", config}, Ready: h.Healthy("http://" + r.Addr + "/v2/"),
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
