package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/darter-p2p/darter/integration/bench/memory"
	"github.com/darter-p2p/darter/integration/bench/pagecache"
	"github.com/darter-p2p/darter/integration/bench/profile"
	"github.com/darter-p2p/darter/integration/lab"
)

// profilePath is where PROFILE=1 leaves a profile for `perf report`.
const profilePath = "out/bench-pull.perf"

// pullTime bounds one pull.
const pullTime = 5 * time.Minute

// puller is a node that pulls.
type puller struct {
	containerd *lab.Containerd
	darterd    *lab.Darterd // nil on a node without darter
}

// measure lets a node pull the image once. Nobody's files are in the page cache, and
// nothing waits to be written. A node without darter forgets the image afterwards.
func (s *stage) measure(ctx context.Context, p puller, profiled bool) (one sample, err error) {
	if err := s.chill(); err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, pullTime)
	defer cancel()
	if err := s.registry.Mark(); err != nil {
		return sample{}, err
	}
	sent, err := s.registry.Host.TxBytes()
	if err != nil {
		return sample{}, err
	}
	if profiled {
		stop, err := profile.Start(profilePath)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	before, err := s.groups.Read()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := p.containerd.Pull(ctx, lab.Ctr, s.image.Ref); err != nil {
		return sample{}, err
	}
	took := time.Since(start)
	after, err := s.groups.Read()
	if err != nil {
		return sample{}, err
	}
	now, err := s.registry.Host.TxBytes()
	if err != nil {
		return sample{}, err
	}
	used, host := after.Since(before), p.containerd.Host.Name
	one = sample{
		Seconds: took.Seconds(), Containerd: used.Groups[containerdGroup(host)].Seconds(), Darterd: used.Groups[darterdGroup(host)].Seconds(),
		Busy: used.Machine.Share(), Foreign: used.Others(), Steal: used.Machine.Steal(), Origin: now - sent,
	}
	one.Others = used.Ours().Seconds() - one.cpu()
	return one, errors.Join(s.describe(ctx, p, &one), s.afterwards(ctx, p))
}

// afterwards makes a node without darter forget the image.
func (s *stage) afterwards(ctx context.Context, p puller) error {
	if p.darterd != nil {
		return nil
	}
	return p.containerd.Remove(ctx, lab.Ctr, s.image.Ref)
}

// describe fills in who read what.
func (s *stage) describe(ctx context.Context, p puller, one *sample) error {
	requests, err := s.registry.Requests()
	if err != nil {
		return err
	}
	for _, r := range requests {
		if !r.IsBlobRead() {
			continue
		}
		one.Read++
		if r.From == p.containerd.Host.Addr {
			one.Own++
		}
	}
	kept, err := p.containerd.Ctr(ctx, "content", "ls", "-q")
	if err != nil {
		return err
	}
	for _, blob := range s.image.Blobs {
		if blob.Kind == "layer" && strings.Contains(kept, blob.Digest.String()) {
			one.Fetched++
		}
	}
	if p.darterd != nil {
		one.PeakRSS, err = memory.Peak(p.darterd.Pid())
	}
	return err
}

// chill writes everything to the disk, and drops from the page cache what the
// registry, the seed and the nodes hold.
func (s *stage) chill() error {
	if err := pagecache.Settle(s.lab.DataDir()); err != nil {
		return err
	}
	dirs := []string{filepath.Join(s.registry.Host.Data, "registry"), pieces(s.seed)}
	for _, node := range s.nodes {
		dirs = append(dirs, pieces(node.Darterd))
	}
	for _, dir := range dirs {
		if err := pagecache.Drop(dir); err != nil {
			return err
		}
	}
	return nil
}

// pieces is the folder of a darterd's piece store.
func pieces(d *lab.Darterd) string { return filepath.Join(d.Host.Data, "darter", "pieces") }

// forget makes a node's containerd cold: neither content nor snapshots are left.
// darterd keeps its pieces.
func (s *stage) forget(ctx context.Context, node *lab.Node) error {
	if err := node.Remove(ctx, lab.Ctr, s.image.Ref); err != nil {
		return err
	}
	snapshotter := "overlayfs"
	if node.Snapshotter != "" {
		snapshotter = node.Snapshotter
	}
	left, err := node.Snapshots(ctx, lab.Ctr, snapshotter)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s keeps snapshots of an image that was removed: %v", node.Containerd.Host.Name, left)
	}
	return nil
}
