package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/integration/bench/pagecache"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// stage is darter on a seed and two nodes, of which one holds the images and the other
// starts them lazily, and a node without darter that pulls ordinary ones. Links have no
// shape but while a row is measured.
type stage struct {
	*lab.System
	plan  plan
	out   io.Writer
	near  *lab.Node // has the images
	node  *lab.Node // has nothing before each measurement
	rafs  *lab.Rafs // of node
	mount *client.Client
	plain *lab.Containerd

	lazy, whole string // references of what node and plain have pulled, "" = nothing
}

// pushed is an image in the registry, in both forms.
type pushed struct {
	ordinary, nydus lab.Image
	bootstrap       int64 // bytes of its layer
}

// quietly has only those chunks fetched that somebody reads, or is about to.
const quietly = "[rafs.fill]\nenable = false\n"

// newStage starts everything. The caller closes the lab.
func newStage(ctx context.Context, p plan, l *lab.Lab, out io.Writer) (*stage, error) {
	system, err := l.StartSystem(ctx, lab.SystemOptions{Nodes: 2, Door: true})
	if err != nil {
		return nil, err
	}
	s := &stage{System: system, plan: p, out: out, near: system.Nodes[0], node: system.Nodes[1]}
	if s.rafs, err = s.Cluster.StartRafs(ctx, s.node.Darterd, quietly); err != nil {
		return nil, err
	}
	s.mount = client.New(filepath.Join(s.node.Host.Dir, "rafs.sock"))
	host, err := l.AddHost(ctx, "plain", lab.Link{})
	if err != nil {
		return nil, err
	}
	if s.plain, err = host.StartContainerd(ctx); err != nil {
		return nil, err
	}
	return s, s.plain.UseMirror(s.Registry.Addr, "")
}

// push puts a recipe's image into the registry.
func (s *stage) push(ctx context.Context, r recipe) (im pushed, err error) {
	b, err := r.build(ctx, s.out)
	if err != nil {
		return im, err
	}
	if s.plan.Plain || r.Name != startName {
		if im.ordinary, err = s.Registry.PushLayout(ctx, b.ordinary, "bench/"+r.Name+":1"); err != nil {
			return im, err
		}
	}
	if im.nydus, err = s.Registry.PushLayout(ctx, b.nydus, "bench/"+r.Name+"-nydus:1"); err != nil {
		return im, err
	}
	for _, blob := range im.nydus.Blobs {
		if blob.Kind == "layer" {
			im.bootstrap = blob.Size // it is the last
		}
	}
	return im, nil
}

// hold has the near node read all of the Nydus image, so that it and the seed have it.
func (s *stage) hold(ctx context.Context, im pushed, repository string) error {
	transport := s.near.Host.Transport()
	defer transport.CloseIdleConnections()
	for _, blob := range im.nydus.Blobs {
		if blob.Kind == "manifest" {
			continue
		}
		url := fmt.Sprintf("%s/v2/%s/blobs/%s?ns=%s", lab.Mirror, repository, blob.Digest, s.Registry.Addr)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return fmt.Errorf("hold %s: %w", blob.Digest, err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close() // it was read to its end, or there is an error already
		if err != nil || n != blob.Size || response.StatusCode != http.StatusOK {
			return fmt.Errorf("hold %s: %s, %d bytes of %d, %w", blob.Digest, response.Status, n, blob.Size, err)
		}
	}
	return nil
}

// hosts are all.
func (s *stage) hosts() []*lab.Host {
	return []*lab.Host{s.Registry.Host, s.Scheduler.Host, s.Seed.Host, s.near.Host, s.node.Host, s.plain.Host}
}

// shaped calls f while all links have a rate.
func (s *stage) shaped(ctx context.Context, r lab.Rate, f func() error) error {
	for _, h := range s.hosts() {
		if err := h.Shape(ctx, lab.Both(r)); err != nil {
			return err
		}
	}
	err := f()
	for _, h := range s.hosts() {
		err = errors.Join(err, h.Shape(context.WithoutCancel(ctx), lab.Link{}))
	}
	return err
}

// freshen makes node and plain forget what they have: images, chunks and pieces.
func (s *stage) freshen(ctx context.Context) error {
	if s.whole != "" {
		if err := s.plain.Remove(ctx, lab.Ctr, s.whole); err != nil {
			return err
		}
		s.whole = ""
	}
	if s.lazy != "" {
		if err := s.node.Remove(ctx, lab.Ctr, s.lazy); err != nil {
			return err
		}
		s.lazy = ""
	}
	if err := s.unmounted(ctx); err != nil {
		return err
	}
	s.rafs.Stop(10 * time.Second)
	if err := s.empty(ctx, s.node.Darterd); err != nil {
		return err
	}
	return s.rafs.Restart(ctx)
}

// strip makes seed and nodes forget everything: only the registry has the images.
func (s *stage) strip(ctx context.Context) error {
	if err := s.freshen(ctx); err != nil {
		return err
	}
	return errors.Join(s.empty(ctx, s.Seed), s.empty(ctx, s.near.Darterd))
}

// empty starts a darterd anew without its pieces.
func (s *stage) empty(ctx context.Context, d *lab.Darterd) error {
	d.Kill()
	dir := filepath.Join(d.Host.Data, "darter")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return d.Restart(ctx)
}

// unmounted waits until node mounts no lazy image.
func (s *stage) unmounted(ctx context.Context) error { return noMounts(ctx, s.mount) }

func noMounts(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		all, err := c.List(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("image %s stays mounted: %w", all[0].Image, ctx.Err())
		}
	}
}

// settle writes everything to the disk, and drops from the page cache what the
// registry, the seed and the near node hold.
func (s *stage) settle() error {
	if err := pagecache.Settle(s.Lab.DataDir()); err != nil {
		return err
	}
	for _, dir := range []string{
		filepath.Join(s.Registry.Host.Data, "registry"), pieces(s.Seed), pieces(s.near.Darterd),
	} {
		if err := pagecache.Drop(dir); err != nil {
			return err
		}
	}
	return nil
}

// pieces is the folder of a darterd's piece store.
func pieces(d *lab.Darterd) string { return filepath.Join(d.Host.Data, "darter", "pieces") }

// chunks is the folder of node's chunks.
func (s *stage) chunks() string { return filepath.Join(s.node.Host.Data, "darter", "rafs", "cache") }

// pullLazy has node pull the Nydus image.
func (s *stage) pullLazy(ctx context.Context, im pushed) (float64, error) {
	s.lazy = im.nydus.Ref
	return seconds(func() error { return s.node.Pull(ctx, lab.Ctr, im.nydus.Ref) })
}

// pullWhole has plain pull the ordinary image.
func (s *stage) pullWhole(ctx context.Context, im pushed) (float64, error) {
	s.whole = im.ordinary.Ref
	return seconds(func() error { return s.plain.Pull(ctx, lab.Ctr, im.ordinary.Ref) })
}

// lazily calls use while node has the Nydus image mounted.
func (s *stage) lazily(ctx context.Context, im pushed, use func(at string) error) error {
	if err := s.node.WithRootfs(ctx, lab.Ctr, lab.Door, im.nydus.Ref, use); err != nil {
		return err
	}
	return s.unmounted(ctx)
}

// wholly calls use while plain has the ordinary image mounted.
func (s *stage) wholly(ctx context.Context, im pushed, use func(at string) error) error {
	return s.plain.WithRootfs(ctx, lab.Ctr, "overlayfs", im.ordinary.Ref, use)
}

// seconds is how long f takes.
func seconds(f func() error) (float64, error) {
	begin := time.Now()
	err := f()
	return time.Since(begin).Seconds(), err
}
