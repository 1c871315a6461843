package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/darter-p2p/darter/integration/lab"
)

// repository is the contents' place in the registry.
const repository = "bench/direct"

// stage is a registry, a scheduler and nodes.
type stage struct {
	registry *lab.Registry
	nodes    []*lab.Darterd
	pushed   int
}

// warmup is longer than the scheduler's, before which it sends nobody to an origin.
const warmup = 5 * time.Second

func newStage(ctx context.Context, l *lab.Lab, nodes int, seed bool, limit string) (*stage, error) {
	extra := ""
	if limit != "" {
		extra = fmt.Sprintf("[limits]\n%s = '%dbit/s'\n", limit, limited)
	}
	s := &stage{}
	host, err := l.AddHost(ctx, "registry", lab.Both(origin))
	if err != nil {
		return nil, err
	}
	if s.registry, err = host.StartRegistry(ctx); err != nil {
		return nil, err
	}
	cluster, err := l.NewCluster(ctx)
	if err != nil {
		return nil, err
	}
	if host, err = l.AddHost(ctx, "scheduler", lab.Both(link)); err != nil {
		return nil, err
	}
	sched, err := cluster.StartScheduler(ctx, host)
	if err != nil {
		return nil, err
	}
	start := func(name string, seed bool) (*lab.Darterd, error) {
		host, err := l.AddHost(ctx, name, lab.Both(link))
		if err != nil {
			return nil, err
		}
		return cluster.StartDarterd(ctx, host, lab.DarterdOptions{
			Seed: seed, Scheduler: sched.Addr, Extra: extra, AsShipped: true,
			Registries: map[string]string{s.registry.Addr: "http://" + s.registry.Addr},
		})
	}
	if seed {
		if _, err := start("seed", true); err != nil {
			return nil, err
		}
	}
	for i := range nodes {
		n, err := start("node"+strconv.Itoa(i+1), false)
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, n)
	}
	if err := s.narrow(ctx); err != nil {
		return nil, err
	}
	select {
	case <-time.After(warmup):
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// narrow makes what the nodes send to each other slow.
func (s *stage) narrow(ctx context.Context) error {
	if len(s.nodes) < 2 {
		return nil
	}
	for i, n := range s.nodes {
		script := fmt.Sprintf(`set -e
tc qdisc del dev eth0 root
tc qdisc add dev eth0 root handle 1: htb default 20
tc class add dev eth0 parent 1: classid 1:20 htb rate %[1]s
tc class add dev eth0 parent 1: classid 1:10 htb rate %[2]s
tc filter add dev eth0 parent 1: protocol ip u32 match ip dst %[3]s classid 1:10`,
			link, between, s.nodes[1-i].Host.Addr)
		if _, err := n.Host.Output(ctx, "sh", "-c", script); err != nil {
			return fmt.Errorf("slow link: %w", err)
		}
	}
	return nil
}

func (s *stage) plainURL(digest string) string {
	return "http://" + s.registry.Addr + "/v2/" + repository + "/blobs/" + digest
}

func (s *stage) mirrorURL(digest string) string {
	return lab.Mirror + "/v2/" + repository + "/blobs/" + digest + "?ns=" + s.registry.Addr
}

// get lets all nodes get a new content at once, and returns what the last one took.
func (s *stage) get(ctx context.Context, url func(digest string) string) (time.Duration, error) {
	image, err := random.Image(size, 1)
	if err != nil {
		return 0, err
	}
	s.pushed++
	pushed, err := s.registry.Push(ctx, image, fmt.Sprintf("%s:%d", repository, s.pushed))
	if err != nil {
		return 0, err
	}
	var digest string
	for _, b := range pushed.Blobs {
		if b.Kind == "layer" {
			digest = b.Digest.String()
		}
	}
	took, errs := make([]time.Duration, len(s.nodes)), make([]error, len(s.nodes))
	var all sync.WaitGroup
	for i, n := range s.nodes {
		all.Go(func() {
			file := filepath.Join(n.Host.Data, "got")
			defer os.Remove(file)
			began := time.Now()
			_, errs[i] = n.Host.Output(ctx, "curl", "--silent", "--show-error", "--fail", "-o", file, url(digest))
			took[i] = time.Since(began)
			if info, err := os.Stat(file); err == nil && info.Size() < size {
				errs[i] = errors.Join(errs[i], fmt.Errorf("%s got %d bytes of %d", n.Host.Name, info.Size(), size))
			}
		})
	}
	all.Wait()
	longest := time.Duration(0)
	for _, t := range took {
		longest = max(longest, t)
	}
	return longest, errors.Join(errs...)
}
