package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/bench/pagecache"
	"github.com/darter-p2p/darter/integration/lab"
)

// stage is a fresh lab for one run: registry, relay, scheduler, seed, nodes; every
// store and every log is new.
type stage struct {
	plan     plan
	lab      *lab.Lab
	self     string // this program
	registry *lab.Registry
	relay    *lab.Process
	sched    *lab.Scheduler
	seed     *lab.Darterd
	nodes    []*lab.Darterd
	layers   []layer
	groups   *cputime.Groups
	warm     time.Time // when the scheduler has been up for long enough
}

// warmup is how long a scheduler is up before the swarm: after its first start it sends
// nobody to an origin for 3 s, since holders may be about to connect. That is another
// measurement than this one.
const warmup = 5 * time.Second

// The groups of processes whose CPU time is counted.
const (
	darterGroup   = "darter" // all darterds and the scheduler
	registryGroup = "registry"
	relayGroup    = "relay"
	clientsGroup  = "clients"
	curlGroup     = "curl"
)

// newStage starts everything and puts the layers into the registry. number makes the
// layers of a run differ from those of others. The caller closes the groups, then the lab.
func newStage(ctx context.Context, p plan, l *lab.Lab, g *cputime.Groups, number int) (*stage, error) {
	s := &stage{plan: p, lab: l, groups: g}
	var err error
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if err := s.startOrigin(ctx, number); err != nil {
		return nil, err
	}
	return s, s.startDarter(ctx)
}

// startOrigin starts the registry with the layers, and the relay before it.
func (s *stage) startOrigin(ctx context.Context, number int) error {
	host, err := s.lab.AddHost(ctx, "registry", lab.Both(s.plan.Rate))
	if err != nil {
		return err
	}
	if s.registry, err = host.StartRegistry(ctx); err != nil {
		return err
	}
	for i, size := range s.plan.layerSizes() {
		l, err := push(ctx, s.registry, uint64(number)<<32|uint64(i), size)
		if err != nil {
			return err
		}
		s.layers = append(s.layers, l)
	}
	s.relay, err = host.Start(ctx, lab.Program{
		Name:  "relay",
		Argv:  []string{s.self, relayCommand, "http://" + s.registry.Addr, host.HostPort(relayPort), fmt.Sprintf("127.0.0.1:%d", countPort)},
		Ready: host.Healthy("http://" + host.HostPort(relayPort) + "/v2/"),
	})
	if err != nil {
		return err
	}
	return errors.Join(s.groups.Add(registryGroup, s.registry.Pid()), s.groups.Add(relayGroup, s.relay.Pid()))
}

// startDarter starts the scheduler, the seed and the nodes.
func (s *stage) startDarter(ctx context.Context) error {
	cluster, err := s.lab.NewCluster(ctx)
	if err != nil {
		return err
	}
	host, err := s.lab.AddHost(ctx, "scheduler", lab.Both(s.plan.Rate))
	if err != nil {
		return err
	}
	if s.sched, err = cluster.StartScheduler(ctx, host); err != nil {
		return err
	}
	s.warm = time.Now().Add(warmup)
	if err := s.groups.Add(darterGroup, s.sched.Pid()); err != nil {
		return err
	}
	start := func(name string, seed bool) (*lab.Darterd, error) {
		host, err := s.lab.AddHost(ctx, name, lab.Both(s.plan.Rate))
		if err != nil {
			return nil, err
		}
		d, err := cluster.StartDarterd(ctx, host, lab.DarterdOptions{
			Seed: seed, Scheduler: s.sched.Addr,
			Registries: map[string]string{s.registry.Addr: "http://" + s.registry.Host.HostPort(relayPort)},
		})
		if err != nil {
			return nil, err
		}
		return d, errors.Join(s.groups.Add(darterGroup, d.Pid()), os.Mkdir(clientDir(d), 0o755))
	}
	if s.seed, err = start("seed", true); err != nil {
		return err
	}
	for i := range s.plan.Nodes {
		node, err := start(fmt.Sprintf("node%d", i+1), false)
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, node)
	}
	return nil
}

// awaitWarm waits until the scheduler is warm.
func (s *stage) awaitWarm(ctx context.Context) error {
	select {
	case <-time.After(time.Until(s.warm)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clientDir is where a node's client writes.
func clientDir(d *lab.Darterd) string { return filepath.Join(d.Host.Data, "client") }

// darterds are the seed and the nodes.
func (s *stage) darterds() []*lab.Darterd { return append([]*lab.Darterd{s.seed}, s.nodes...) }

// chill drops the registry's files from the page cache.
func (s *stage) chill() error { return pagecache.Drop(filepath.Join(s.registry.Host.Data, "registry")) }

// counts asks the relay what it has counted.
func (s *stage) counts(ctx context.Context) (counts, error) {
	transport := s.registry.Host.Transport()
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", countPort), nil)
	if err != nil {
		return counts{}, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return counts{}, fmt.Errorf("relay: %w", err)
	}
	defer response.Body.Close()
	var c counts
	return c, json.NewDecoder(response.Body).Decode(&c)
}
