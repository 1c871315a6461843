package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// Names of starts on one node and on all at once: the last one's first byte.
const (
	plainAlone = "plain-alone" // of an ordinary image that was pulled before: what the machine itself costs
	plainCrowd = "plain-crowd"
	lazyAlone  = "lazy-alone" // only the registry has its chunks
	lazyCrowd  = "lazy-crowd"
)

// crowdNode is a node that starts containers of both images.
type crowdNode struct {
	*lab.Node
	rafs  *lab.Rafs
	mount *client.Client
	holds bool // the Nydus image
}

// crowds is the row of containers that start on many nodes at once. Links have no shape.
func (s *stage) crowds(ctx context.Context) ([]row, error) {
	var im pushed
	var nodes []*crowdNode
	facts := map[string]float64{"nodes": float64(s.plan.Crowd)}
	return []row{{
		key: fmt.Sprintf("crowd-%d", s.plan.Crowd), unit: "s", facts: facts,
		names: []compared{{plainAlone, ""}, {plainCrowd, plainAlone}, {lazyAlone, plainAlone}, {lazyCrowd, lazyAlone}},
		run: func(ctx context.Context, number int) (r run, err error) {
			if nodes == nil {
				if im, err = s.push(ctx, s.plan.crowded()); err != nil {
					return nil, err
				}
				if nodes, err = s.gather(ctx, im); err != nil {
					return nil, err
				}
			}
			return s.crowd(ctx, im, nodes, facts, number)
		},
	}}, nil
}

// gather starts the nodes, which pull the ordinary image.
func (s *stage) gather(ctx context.Context, im pushed) ([]*crowdNode, error) {
	var nodes []*crowdNode
	for range s.plan.Crowd {
		node, err := s.AddNode(ctx, lab.ContainerdOptions{Door: true})
		if err != nil {
			return nil, err
		}
		rafs, err := s.Cluster.StartRafs(ctx, node.Darterd, quietly)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, &crowdNode{Node: node, rafs: rafs, mount: client.New(filepath.Join(node.Host.Dir, "rafs.sock"))})
		if err := node.Pull(ctx, lab.Ctr, im.ordinary.Ref, "--snapshotter", "overlayfs"); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// crowd measures one node and then all, first of the image that is here, then of the one
// that only the registry has; and what the registry sends when all read to the end.
func (s *stage) crowd(ctx context.Context, im pushed, nodes []*crowdNode, facts map[string]float64, number int) (run, error) {
	r := run{}
	plain := func(name string, on []*crowdNode) func() error {
		return func() error {
			return r.takes(name, func() (float64, error) { return s.last(ctx, on, "overlayfs", im.ordinary.Ref) })
		}
	}
	lazy := func(name string, on []*crowdNode) func() error {
		return func() error {
			if err := s.scatter(ctx, im, nodes); err != nil {
				return err
			}
			for _, node := range on {
				node.holds = true
				if err := node.Pull(ctx, lab.Ctr, im.nydus.Ref); err != nil {
					return err
				}
			}
			return r.takes(name, func() (float64, error) { return s.last(ctx, on, lab.Door, im.nydus.Ref) })
		}
	}
	if err := inTurn(number, plain(plainAlone, nodes[:1]), plain(plainCrowd, nodes)); err != nil {
		return nil, err
	}
	if err := lazy(lazyAlone, nodes[:1])(); err != nil {
		return nil, err
	}
	if err := lazy(lazyCrowd, nodes)(); err != nil {
		return nil, err
	}
	return r, s.devour(ctx, im, nodes, facts)
}

// last starts a container on each node at once and returns when the last one had its
// first byte, in seconds.
func (s *stage) last(ctx context.Context, nodes []*crowdNode, snapshotter, ref string) (float64, error) {
	took := make([]float64, len(nodes))
	all, ctx := errgroup.WithContext(ctx)
	for i, node := range nodes {
		all.Go(func() (err error) {
			took[i], err = s.firstByte(ctx, node.Containerd, snapshotter, ref)
			return err
		})
	}
	err := all.Wait()
	return slices.Max(took), err
}

// devour has all nodes read a file to its end at once and notes what the registry sent
// since the image came, for each compressed byte of its blobs.
func (s *stage) devour(ctx context.Context, im pushed, nodes []*crowdNode, facts map[string]float64) error {
	all, actx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		all.Go(func() error {
			id := "all-" + node.Host.Name
			_, err := node.Ctr(actx, "run", "--rm", "--snapshotter", lab.Door, "--cgroup", "/"+s.Lab.ID()+"/"+id, im.nydus.Ref, id,
				"/bin/busybox", "sh", "-c", "cat /bin/busybox /"+firstFile+" /"+largeFile+" /"+smallDir+"/*/* >/dev/null")
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	requests, err := s.Registry.Requests()
	if err != nil {
		return err
	}
	var sent, blobs int64
	for _, request := range requests {
		if request.IsBlobRead() {
			sent += request.Bytes
		}
	}
	for _, blob := range im.nydus.Blobs {
		if blob.Kind != "manifest" {
			blobs += blob.Size
		}
	}
	facts["origin_per_distinct"] = float64(sent) / float64(blobs)
	return nil
}

// scatter makes all nodes and the seed forget the Nydus image and its pieces.
func (s *stage) scatter(ctx context.Context, im pushed, nodes []*crowdNode) error {
	var all errgroup.Group
	for _, node := range nodes {
		all.Go(func() error {
			if node.holds {
				if err := node.Remove(ctx, lab.Ctr, im.nydus.Ref); err != nil {
					return err
				}
			}
			node.holds = false
			if err := noMounts(ctx, node.mount); err != nil {
				return err
			}
			node.rafs.Stop(10 * time.Second)
			if err := s.empty(ctx, node.Darterd); err != nil {
				return err
			}
			return node.rafs.Restart(ctx)
		})
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("forget %s: %w", im.nydus.Ref, err)
	}
	if err := s.empty(ctx, s.Seed); err != nil {
		return err
	}
	return s.Registry.Mark()
}
