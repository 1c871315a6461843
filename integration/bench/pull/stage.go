package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/lab"
)

// Groups of processes whose CPU time is counted, beside two for each node.
const (
	registryGroup = "registry"
	othersGroup   = "others" // seed and scheduler
)

// nodes are those that pull: the first of a cold cluster, and the next.
const nodes = 2

// stage is a registry with the image, darter on a seed and two nodes, and a node
// without darter.
type stage struct {
	plan     plan
	groups   *cputime.Groups
	lab      *lab.Lab
	registry *lab.Registry
	image    lab.Image
	sched    *lab.Scheduler
	seed     *lab.Darterd
	nodes    [nodes]*lab.Node
	plain    *lab.Containerd
	warm     time.Time // when the scheduler has been up for long enough
}

// groupNames are those of all groups.
func groupNames() []string {
	names := []string{registryGroup, othersGroup, containerdGroup("plain")}
	for i := range nodes {
		names = append(names, containerdGroup(nodeName(i)), darterdGroup(nodeName(i)))
	}
	return names
}

func nodeName(i int) string              { return fmt.Sprintf("node%d", i+1) }
func containerdGroup(host string) string { return host + "-containerd" }
func darterdGroup(host string) string    { return host + "-darterd" }

// options of every containerd: layers are decompressed by containerd itself, so that
// the same work is compared on machines with pigz or igzip and without.
var containerdOptions = lab.ContainerdOptions{
	Door: true, Env: []string{"CONTAINERD_DISABLE_PIGZ=1", "CONTAINERD_DISABLE_IGZIP=1"},
}

// newStage starts everything. The caller closes the lab, then the groups.
func newStage(ctx context.Context, p plan, l *lab.Lab, g *cputime.Groups) (*stage, error) {
	s := &stage{plan: p, lab: l, groups: g}
	link := lab.Both(p.Rate)
	host, err := l.AddHost(ctx, "registry", link)
	if err != nil {
		return nil, err
	}
	if s.registry, err = host.StartRegistry(ctx); err != nil {
		return nil, err
	}
	if s.image, err = s.registry.BuildAndPush(ctx, p.recipe(), "bench/image:1"); err != nil {
		return nil, err
	}
	if host, err = l.AddHost(ctx, "plain", link); err != nil {
		return nil, err
	}
	plain := containerdOptions
	plain.Door = false
	if s.plain, err = host.StartContainerdWith(ctx, plain); err != nil {
		return nil, err
	}
	if err := s.plain.UseMirror(s.registry.Addr, ""); err != nil {
		return nil, err
	}
	if err := s.startDarter(ctx, link); err != nil {
		return nil, err
	}
	return s, errors.Join(
		g.Add(registryGroup, s.registry.Pid()), g.Add(containerdGroup("plain"), s.plain.Pid()), s.count())
}

// startDarter starts scheduler, seed and nodes.
func (s *stage) startDarter(ctx context.Context, link lab.Link) error {
	cluster, err := s.lab.NewCluster(ctx)
	if err != nil {
		return err
	}
	host, err := s.lab.AddHost(ctx, "scheduler", link)
	if err != nil {
		return err
	}
	if s.sched, err = cluster.StartScheduler(ctx, host); err != nil {
		return err
	}
	s.warm = time.Now().Add(warmup)
	options := lab.DarterdOptions{
		Seed: true, Scheduler: s.sched.Addr, Registries: map[string]string{s.registry.Addr: "http://" + s.registry.Addr},
	}
	if host, err = s.lab.AddHost(ctx, "seed", link); err != nil {
		return err
	}
	if s.seed, err = cluster.StartDarterd(ctx, host, options); err != nil {
		return err
	}
	options.Seed, options.Door = false, true
	for i := range s.nodes {
		if host, err = s.lab.AddHost(ctx, nodeName(i), link); err != nil {
			return err
		}
		node := &lab.Node{}
		if node.Darterd, err = cluster.StartDarterd(ctx, host, options); err != nil {
			return err
		}
		if node.Containerd, err = host.StartContainerdWith(ctx, containerdOptions); err != nil {
			return err
		}
		if err := node.UseMirror(s.registry.Addr, lab.Mirror); err != nil {
			return err
		}
		s.nodes[i] = node
	}
	return nil
}

// count puts darter's processes and the nodes' containerds into their groups.
func (s *stage) count() error {
	errs := []error{s.groups.Add(othersGroup, s.sched.Pid()), s.groups.Add(othersGroup, s.seed.Pid())}
	for i, node := range s.nodes {
		errs = append(errs,
			s.groups.Add(containerdGroup(nodeName(i)), node.Containerd.Pid()),
			s.groups.Add(darterdGroup(nodeName(i)), node.Darterd.Pid()))
	}
	return errors.Join(errs...)
}

// warmup is how long a scheduler is up before a cold cluster is measured: after its
// start it sends nobody to an origin for 3 s, since holders may be about to connect.
const warmup = 5 * time.Second

// freeze makes the cluster cold: all of darter and its nodes' containerds begin
// again, with empty stores.
func (s *stage) freeze(ctx context.Context) error {
	processes := []*lab.Process{s.sched.Process, s.seed.Process}
	for _, node := range s.nodes {
		processes = append(processes, node.Darterd.Process, node.Containerd.Process)
	}
	for _, process := range processes {
		process.Kill()
	}
	for _, host := range []*lab.Host{s.seed.Host, s.nodes[0].Host, s.nodes[1].Host} {
		for _, store := range []string{"darter", "containerd"} {
			if err := empty(filepath.Join(host.Data, store)); err != nil {
				return err
			}
		}
	}
	for i, process := range processes {
		if err := process.Restart(ctx); err != nil {
			return err
		}
		if i == 0 {
			s.warm = time.Now().Add(warmup)
		}
	}
	if err := s.count(); err != nil {
		return err
	}
	select {
	case <-time.After(time.Until(s.warm)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// empty removes what is in a folder, if there is one.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}
