package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

//go:embed rafs.toml
var rafsConfig string

// NoLazy says why this machine cannot mount Nydus images, "" if it seems to.
func NoLazy() string {
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(known), "erofs") {
		return "this kernel has no EROFS (or its module is not loaded)"
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return "there is no /dev/fuse"
	}
	return ""
}

// rafsSocket is where the host's darter-rafs listens.
func (h *Host) rafsSocket() string { return filepath.Join(h.Dir, "rafs.sock") }

// RafsMetrics is where a host's darter-rafs serves its metrics, for that host.
const RafsMetrics = "127.0.0.1:40903"

// Rafs is a darter-rafs on a host: what mounts Nydus images for its darterd.
type Rafs struct {
	*Process
	Host *Host
}

// StartRafs starts a darter-rafs beside the host's darterd; extra is TOML behind all else.
func (c *Cluster) StartRafs(ctx context.Context, d *Darterd, extra string) (*Rafs, error) {
	h := d.Host
	path := filepath.Join(h.Dir, "rafs.toml")
	if err := writeConfig(path, rafsConfig, map[string]any{
		"RafsSocket": h.rafsSocket(), "Metrics": RafsMetrics, "Socket": d.socket, "Data": filepath.Join(h.Data, "darter"), "Extra": extra,
	}); err != nil {
		return nil, err
	}
	process, err := h.Start(ctx, Program{
		Name: "rafs", Argv: []string{c.programs.path("darter-rafs"), "--config", path}, Ready: ListensAt(h.rafsSocket()),
	})
	return &Rafs{process, h}, err
}

// Mounts lists what the process mounts.
func (r *Rafs) Mounts(ctx context.Context) ([]client.Mount, error) {
	c := client.New(r.Host.rafsSocket())
	defer c.Close()
	return c.List(ctx)
}

// KillAlone ends the process as kill -9 does, but not those that it has started.
func (r *Rafs) KillAlone() error {
	done := r.Done()
	if pid := r.Pid(); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill darter-rafs: %w", err)
		}
	}
	<-done
	return nil
}

// Convert has `darter convert` make a Nydus image of an image in the registry, beside it
// under another repository and tag, and returns it.
func (c *Cluster) Convert(ctx context.Context, r *Registry, ref, repositoryTag string, flags ...string) (Image, error) {
	dst := r.Addr + "/" + repositoryTag
	argv := append([]string{c.programs.path("darter"), "convert", "--plain-http", "--quiet", "--work-dir", r.Host.Data}, flags...)
	if _, err := r.Host.Output(ctx, append(argv, ref, dst)...); err != nil {
		return Image{}, err
	}
	tag, err := name.NewTag(dst, name.Insecure)
	if err != nil {
		return Image{}, err
	}
	transport := r.Host.Transport()
	defer transport.CloseIdleConnections()
	made, err := remote.Image(tag, remote.WithContext(ctx), remote.WithTransport(transport))
	if err != nil {
		return Image{}, fmt.Errorf("converted %s: %w", dst, err)
	}
	described, err := describe(made)
	return described.At(tag.Name()), err
}

// RafsMounts lists the mounts below the folders of the host that have to do with lazy
// images: EROFS and FUSE.
func (h *Host) RafsMounts() ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			return nil, errors.New("mountinfo: " + line)
		}
		lazy := strings.HasPrefix(after, "erofs ") || strings.HasPrefix(after, "fuse")
		if lazy && (under(fields[4], h.Dir) || under(fields[4], h.Data)) {
			found = append(found, fields[4])
		}
	}
	return found, nil
}

func under(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }
