package lab

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// System is the whole of darter in a lab: a registry, a scheduler, a seed, and
// nodes whose containerd asks their own darterd first.
type System struct {
	Lab       *Lab
	Cluster   *Cluster
	Manager   *Manager // nil = there is none
	Registry  *Registry
	Scheduler *Scheduler
	Seed      *Darterd
	Nodes     []*Node

	link    Link
	options DarterdOptions // of every node's darterd
}

// Node is a host with a containerd and a darterd.
type Node struct {
	*Containerd
	Darterd *Darterd
}

// SystemOptions say how large a system is.
type SystemOptions struct {
	Nodes int
	Link  Link // of every host
	// Manager starts a manager, which all others follow.
	Manager bool
	// Registries are beside the lab's own and docker.io, which is the lab's, too.
	Registries map[string]string
	// Door gives every node the snapshot door beside the mirror. ctr and nerdctl
	// pull through it; CRI does if Containerd says so.
	Door       bool
	DoorExtra  string // TOML in the table of the doors
	Extra      string // TOML behind all else of the nodes' darterd
	Containerd ContainerdOptions
	// Sandbox is the repository and tag of the image of pods' sandboxes, in the
	// system's registry; "" for those who run no pods.
	Sandbox string
}

// SystemTools are the tools that a system needs on PATH.
var SystemTools = []string{"containerd", "ctr", "docker-registry"}

// StartSystem starts a system without images.
func (l *Lab) StartSystem(ctx context.Context, o SystemOptions) (*System, error) {
	s := &System{Lab: l, link: o.Link}
	var err error
	if s.Cluster, err = l.NewCluster(ctx); err != nil {
		return nil, err
	}
	host, err := l.AddHost(ctx, "registry", o.Link)
	if err != nil {
		return nil, err
	}
	if s.Registry, err = host.StartRegistry(ctx); err != nil {
		return nil, err
	}
	if o.Manager {
		if host, err = l.AddHost(ctx, "manager", o.Link); err != nil {
			return nil, err
		}
		if s.Manager, err = s.Cluster.StartManager(ctx, host, ""); err != nil {
			return nil, err
		}
	}
	if host, err = l.AddHost(ctx, "scheduler", o.Link); err != nil {
		return nil, err
	}
	if s.Scheduler, err = s.Cluster.StartScheduler(ctx, host); err != nil {
		return nil, err
	}
	options := DarterdOptions{Scheduler: s.Scheduler.Addr, Registries: map[string]string{
		s.Registry.Addr: "http://" + s.Registry.Addr,
		"docker.io":     "http://" + s.Registry.Addr,
	}}
	for name, url := range o.Registries {
		options.Registries[name] = url
	}
	if host, err = l.AddHost(ctx, "seed", o.Link); err != nil {
		return nil, err
	}
	options.Seed = true
	if s.Seed, err = s.Cluster.StartDarterd(ctx, host, options); err != nil {
		return nil, err
	}
	options.Seed, options.Door, options.DoorExtra, options.Extra = false, o.Door, o.DoorExtra, o.Extra
	s.options = options
	o.Containerd.Door = o.Door
	if o.Sandbox != "" {
		o.Containerd.Sandbox = s.Registry.Addr + "/" + o.Sandbox
	}
	for range o.Nodes {
		if _, err := s.AddNode(ctx, o.Containerd); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// AddNode adds a node, and the host for it. Its darterd is like those of the others.
func (s *System) AddNode(ctx context.Context, o ContainerdOptions) (*Node, error) {
	host, err := s.Lab.AddHost(ctx, fmt.Sprintf("node%d", len(s.Nodes)+1), s.link)
	if err != nil {
		return nil, err
	}
	node := &Node{}
	if node.Darterd, err = s.Cluster.StartDarterd(ctx, host, s.options); err != nil {
		return nil, err
	}
	if node.Containerd, err = host.StartContainerdWith(ctx, o); err != nil {
		return nil, err
	}
	if o.Door {
		node.Snapshotter = Door
	}
	s.Nodes = append(s.Nodes, node)
	return node, node.UseMirror(s.Registry.Addr, Mirror)
}

// Pulled is how one node's pull went.
type Pulled struct {
	Node *Node
	Took time.Duration // from the start of all pulls
	Err  error
}

// PullAll lets all nodes pull an image at once and waits for all. ended is told
// of each as it ends, if it is not nil; calls may overlap.
func (s *System) PullAll(ctx context.Context, client Client, ref string, ended func(Pulled)) []Pulled {
	all := make([]Pulled, len(s.Nodes))
	start := time.Now()
	var wg sync.WaitGroup
	for i, node := range s.Nodes {
		wg.Go(func() {
			err := node.Pull(ctx, client, ref)
			all[i] = Pulled{node, time.Since(start), err}
			if ended != nil {
				ended(all[i])
			}
		})
	}
	wg.Wait()
	return all
}
