package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/bench/memory"
	"github.com/darter-p2p/darter/integration/bench/profile"
	"github.com/darter-p2p/darter/integration/lab"
)

// profilePath is where PROFILE=1 leaves a profile for `perf report`.
const profilePath = "out/bench-swarm.perf"

// bench does all runs of the plan that the environment gives and writes the report.
func bench(ctx context.Context, getenv func(string) string, out io.Writer) error {
	p, err := parsePlan(getenv)
	if err != nil {
		return err
	}
	if reason := lab.Unmet("docker-registry", "curl"); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	fmt.Fprintf(out, "swarm: %d nodes, links of %s, %d MiB in %d layers, MTU %d, %d runs\n", p.Nodes, p.Rate, p.Size>>20, p.Layers, p.MTU, p.Runs)
	var runs []runReport
	for i := range p.Runs {
		run, err := oneRun(ctx, p, i, out)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		runs = append(runs, run)
		fmt.Fprintf(out, "run %d: %s\n", i+1, run.sentence())
	}
	r := newReport(p, runs)
	if err := r.write(p); err != nil {
		return err
	}
	path, picture := p.paths()
	fmt.Fprintf(out, "median of %d: ratio %.3f, origin %.3f, CPU %.2f s/GB = %.2f × curl\nreport: %s, %s\n",
		r.medianOf(), r.Ratio, r.OriginRatio, r.CPUPerGB, r.CPUVsCurl, path, picture)
	if r.Counts == 0 {
		fmt.Fprintf(out, "NO RUN COUNTS: the machine was over %.0f %% busy in each\n", maxBusy*100)
	}
	return nil
}

// sentence is the run in a line.
func (r runReport) sentence() string {
	s := fmt.Sprintf("%.2f s, bound %.2f s, ratio %.3f, origin %.3f, seed sent %.2f, CPU %.2f s/GB (curl %.2f), busy %.0f %% (others %.0f %%)",
		r.Makespan, r.Bound, r.Ratio, r.OriginRatio, r.CopiesSent.Seed, r.CPUPerGB, r.Curl.CPUPerGB, r.Busy*100, r.BusyOthers*100)
	if r.CPULimited {
		s += "; CPU-LIMITED, does not count"
	}
	return s
}

// oneRun sets a fresh stage and measures everything once. Curl and swarm take turns in
// going first.
func oneRun(ctx context.Context, p plan, number int, out io.Writer) (_ runReport, err error) {
	g, err := cputime.NewGroups(darterGroup, registryGroup, relayGroup, clientsGroup, curlGroup)
	if err != nil {
		return runReport{}, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	l, err := lab.New(ctx, lab.Options{MTU: p.MTU})
	if err != nil {
		return runReport{}, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprint(out, l.Logs(25))
		}
		err = errors.Join(err, l.Close())
	}()
	s, err := newStage(ctx, p, l, g, number)
	if err != nil {
		return runReport{}, err
	}
	var (
		r        runReport
		curlUsed cputime.Usage
	)
	steps := []func() error{
		func() (err error) { r.Curl, curlUsed, err = s.plainly(ctx); return err },
		func() (err error) { r.Goodput, err = s.goodput(ctx); return err },
		func() (err error) { return s.swarm(ctx, &r, p.Profile && number == p.Runs-1) },
	}
	if number%2 == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return runReport{}, err
		}
	}
	r.Bound = lowerBound(p.layerSizes(), r.Goodput, p.Nodes)
	r.Ratio = r.Makespan / r.Bound
	r.compareCPU(p, curlUsed)
	return r, nil
}

// compareCPU sets what follows from the CPU times of swarm and curl.
func (r *runReport) compareCPU(p plan, curl cputime.Usage) {
	r.CPU.Curl, r.CPU.CurlRegistry, r.CPU.CurlMachine = curl.Groups[curlGroup].Seconds(), curl.Groups[registryGroup].Seconds(), curl.Machine.Busy.Seconds()
	delivered, once := float64(p.Size)*float64(p.Nodes)/1e9, float64(p.Size)/1e9
	plain := (r.CPU.Curl + r.CPU.CurlRegistry) / once
	ours := (r.CPU.Darter + r.CPU.Registry) / delivered
	r.CPUPerGB = ours
	if plain > 0 {
		r.CPUVsCurl = ours / plain
		r.CPUVsCurlWithClients = (ours + r.CPU.Clients/delivered) / plain
	}
	if r.CPU.CurlMachine > 0 {
		r.CPUVsCurlWholeMachine = (r.CPU.Machine / delivered) / (r.CPU.CurlMachine / once)
	}
}

// swarm lets all nodes get all layers and fills the run's report but for what is
// compared with curl.
func (s *stage) swarm(ctx context.Context, r *runReport, profiled bool) (err error) {
	if err := s.chill(); err != nil {
		return err
	}
	if err := s.awaitWarm(ctx); err != nil {
		return err
	}
	// A swarm that takes thirty times as long as the links need hangs.
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(30*s.plan.Rate.Seconds(s.plan.Size)*float64(time.Second)))
	defer cancel()
	clients, err := s.assemble(ctx)
	if err != nil {
		cancel()
		_, failed := gather(clients)
		return errors.Join(err, failed)
	}
	before, err := s.read(ctx)
	if err == nil && profiled {
		var stop func() error
		if stop, err = profile.Start(profilePath); err == nil {
			defer func() { err = errors.Join(err, stop()) }()
		}
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watched := make(chan error, 1)
	go func() {
		var err error
		r.Timeline, err = s.watch(watching)
		watched <- err
	}()
	err = errors.Join(err, release(clients))
	all, failed := gather(clients)
	stopWatching()
	if err := errors.Join(err, failed, <-watched); err != nil {
		return err
	}
	after, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.account(r, before, after, all)
	return errors.Join(s.describe(ctx, r), s.check())
}

// reading is all counters at one time.
type reading struct {
	usage  cputime.Usage
	origin counts
	sent   map[string]int64 // by host
}

func (s *stage) read(ctx context.Context) (r reading, err error) {
	if r.usage, err = s.groups.Read(); err != nil {
		return r, err
	}
	if r.origin, err = s.counts(ctx); err != nil {
		return r, err
	}
	r.sent = map[string]int64{}
	for _, h := range s.lab.Hosts() {
		if r.sent[h.Name], err = h.TxBytes(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// account fills in what counters and clients say.
func (s *stage) account(r *runReport, before, after reading, all []fetched) {
	used, size := after.usage.Since(before.usage), float64(s.plan.Size)
	sent := func(h *lab.Host) int64 { return after.sent[h.Name] - before.sent[h.Name] }
	r.CPU = cpuReport{
		Darter: used.Groups[darterGroup].Seconds(), Registry: used.Groups[registryGroup].Seconds(), Relay: used.Groups[relayGroup].Seconds(),
		Clients: used.Groups[clientsGroup].Seconds(), Machine: used.Machine.Busy.Seconds(),
	}
	r.Busy, r.BusyOthers = used.Machine.Share(), used.Others()
	r.CPULimited = r.Busy > maxBusy
	r.Origin = originReport{
		Bodies:   after.origin.Bodies - before.origin.Bodies,
		Requests: after.origin.Requests - before.origin.Requests,
		Answers:  after.origin.Answers[min(len(before.origin.Answers), len(after.origin.Answers)):],
		Sent:     sent(s.registry.Host),
	}
	r.OriginRatio = float64(r.Origin.Bodies) / size
	host := func(d *lab.Darterd) hostReport {
		return hostReport{Name: d.Host.Name, Sent: sent(d.Host), Copies: float64(sent(d.Host)) / size}
	}
	r.Seed = host(s.seed)
	r.CopiesSent.Seed = r.Seed.Copies

	var start, end time.Duration
	for _, f := range all {
		start, end = max(start, f.Start), max(end, f.last())
	}
	r.Makespan = (end - start).Seconds()
	for i, node := range s.nodes {
		n := host(node)
		n.Seconds, n.FirstByte = (all[i].last() - start).Seconds(), (all[i].First - start).Seconds()
		t := &r.Timeline
		n.Pause = longestPause(t.Seconds, until(n.Seconds, t.Seconds, t.Done[n.Name]), 0)
		n.Silence = longestPause(t.Seconds, until(r.Makespan, t.Seconds, t.Sent[n.Name]), float64(s.plan.Rate)/8/20)
		r.Nodes = append(r.Nodes, n)
		r.CopiesSent.Nodes = append(r.CopiesSent.Nodes, n.Copies)
	}
}

// describe fills in what the darterds say of themselves.
func (s *stage) describe(ctx context.Context, r *runReport) error {
	for i, d := range s.darterds() {
		into := &r.Seed
		if i > 0 {
			into = &r.Nodes[i-1]
		}
		status, err := d.Status(ctx)
		if err != nil {
			return err
		}
		into.Uploaded = status.Uploaded
		into.FromPeers, into.FromSeed, into.FromOrigin = status.Bytes.FromPeers, status.Bytes.FromSeed, status.Bytes.FromOrigin
		if into.RSSMax, err = memory.Peak(d.Pid()); err != nil {
			return err
		}
		r.RSSMax = max(r.RSSMax, into.RSSMax)
	}
	return nil
}
