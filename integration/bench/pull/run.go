package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/bench/disk"
	"github.com/darter-p2p/darter/integration/lab"
)

// bench does all runs of the plan that the environment gives and writes the report.
func bench(ctx context.Context, getenv func(string) string, out io.Writer) (err error) {
	p, err := parsePlan(getenv)
	if err != nil {
		return err
	}
	end := time.Now().Add(p.Time)
	if reason := lab.Unmet(append(disk.Tools(), lab.SystemTools...)...); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	g, err := cputime.NewGroups(groupNames()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	d, err := disk.New(ctx, "/var/tmp", p.room())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	l, err := lab.New(ctx, lab.Options{DataDir: d.Dir})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprint(out, l.Logs(25))
		}
		err = errors.Join(err, l.Close())
	}()
	s, err := newStage(ctx, p, l, g)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "pull: %s, %d layers of %s, %d MB, links: %s, %d runs\n", s.image.Ref, s.image.Layers, p.Format, s.image.Bytes/1e6, p.rate(), p.Runs)
	var runs []runReport
	var longest time.Duration
	for i := range p.Runs {
		start := time.Now()
		if i > 0 && start.Add(longest).After(end) {
			fmt.Fprintf(out, "%d runs of %d: another one would not end within TIME=%v\n", i, p.Runs, p.Time)
			break
		}
		run, err := s.run(ctx, i, out)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		runs = append(runs, run)
		longest = max(longest, time.Since(start))
	}
	c := newCell(p, s.image.Bytes, runs)
	if err := c.write(reportPath, p.key()); err != nil {
		return err
	}
	for _, line := range c.table(p.pulls()) {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "report: %s, %s\n", reportPath, p.key())
	return nil
}

// noter takes a sample of a run by its name.
type noter func(name string, one sample, err error) error

// run measures every pull of the plan once. The doors take turns in going first.
func (s *stage) run(ctx context.Context, number int, out io.Writer) (runReport, error) {
	r := runReport{}
	note := func(name string, one sample, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r[name] = one
		fmt.Fprintf(out, "run %d: %-14s %6.1f s, CPU %5.1f s (containerd %.1f, darterd %.1f), busy %.0f %% (foreign %.0f %%, of that stolen %.0f %%)\n",
			number+1, name, one.Seconds, one.cpu(), one.Containerd, one.Darterd, one.Busy*100, one.Foreign*100, one.Steal*100)
		return nil
	}
	for _, door := range s.plan.order(number) {
		if err := s.byDoor(ctx, door, number, note); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// byDoor measures the pulls through one door, on a cluster that is cold at first: the
// first node's, the next node's, and the next node's again. The pull by plain
// containerd has its turn beside the next node's by the door that it is compared with.
func (s *stage) byDoor(ctx context.Context, door string, number int, note noter) error {
	if err := s.freeze(ctx); err != nil {
		return err
	}
	for _, node := range s.nodes {
		node.Snapshotter = ""
		if door == snapshotDoor {
			node.Snapshotter = lab.Door
		}
	}
	first, next := s.nodes[0], s.nodes[1]
	for _, pull := range s.plan.steps(door, number) {
		p := puller{containerd: next.Containerd, darterd: next.Darterd}
		switch pull {
		case plainDoor:
			p = puller{containerd: s.plain}
		case pullName(door, firstPull):
			p = puller{containerd: first.Containerd, darterd: first.Darterd}
		case pullName(door, warmPull):
			if err := s.forget(ctx, next); err != nil {
				return err
			}
		}
		profiled := s.plan.Profile && number == 0 && pull == pullName(snapshotDoor, nextPull)
		one, err := s.measure(ctx, p, profiled)
		if err := note(pull, one, err); err != nil {
			return err
		}
	}
	return nil
}
