package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/darter-p2p/darter/integration/bench/cputime"
	"github.com/darter-p2p/darter/integration/lab"
)

// bench does all runs of the plan that the environment gives and writes the report.
func bench(ctx context.Context, getenv func(string) string, out io.Writer) (err error) {
	p, err := parsePlan(getenv)
	if err != nil {
		return err
	}
	if reason := lab.Unmet(lab.SystemTools...); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	g, err := cputime.NewGroups(groupNames()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	l, err := lab.New(ctx, lab.Options{})
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
	for i := range p.Runs {
		run, err := s.run(ctx, i, out)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		runs = append(runs, run)
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

// run measures every pull of the plan once. Plain containerd and the doors take turns
// in going first.
func (s *stage) run(ctx context.Context, number int, out io.Writer) (runReport, error) {
	r := runReport{}
	note := func(name string, one sample, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r[name] = one
		fmt.Fprintf(out, "run %d: %-14s %6.1f s, CPU %5.1f s (containerd %.1f, darterd %.1f), busy %.0f %% (foreign %.0f %%)\n",
			number+1, name, one.Seconds, one.cpu(), one.Containerd, one.Darterd, one.Busy*100, one.Foreign*100)
		return nil
	}
	steps := []func() error{func() error {
		one, err := s.measure(ctx, puller{containerd: s.plain}, false)
		return note(plainDoor, one, err)
	}}
	for _, door := range s.plan.Doors {
		steps = append(steps, func() error { return s.byDoor(ctx, door, number == s.plan.Runs-1, note) })
	}
	if number%2 == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// byDoor measures the pulls through one door, on a cluster that is cold at first: the
// first node's, the next node's, and the next node's again.
func (s *stage) byDoor(ctx context.Context, door string, last bool, note func(string, sample, error) error) error {
	if err := s.freeze(ctx); err != nil {
		return err
	}
	for _, node := range s.nodes {
		node.Snapshotter = ""
		if door == snapshotDoor {
			node.Snapshotter = lab.Door
		}
	}
	for _, step := range []struct {
		pull string
		node *lab.Node
	}{{firstPull, s.nodes[0]}, {nextPull, s.nodes[1]}, {warmPull, s.nodes[1]}} {
		wanted := slices.Contains(s.plan.Pulls, step.pull)
		if !wanted && step.pull == warmPull {
			return nil
		}
		if step.pull == warmPull {
			if err := s.forget(ctx, step.node); err != nil {
				return err
			}
		}
		profiled := s.plan.Profile && last && step.pull == nextPull && door == snapshotDoor
		one, err := s.measure(ctx, puller{step.node.Containerd, step.node.Darterd}, profiled)
		if !wanted && err == nil {
			continue
		}
		if err := note(pullName(door, step.pull), one, err); err != nil {
			return err
		}
	}
	return nil
}
