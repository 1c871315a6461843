package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/darter-p2p/darter/integration/bench/disk"
	"github.com/darter-p2p/darter/integration/lab"
)

// row is a group of figures that are measured side by side.
type row struct {
	key   string
	unit  string
	names []compared
	facts map[string]float64
	// run measures each name once; runs with an odd number the other way round.
	run func(ctx context.Context, number int) (run, error)
}

// bench does all rows of the plan that the environment gives and writes the report.
func bench(ctx context.Context, getenv func(string) string, out io.Writer) (err error) {
	p, err := parsePlan(getenv)
	if err != nil {
		return err
	}
	end := time.Now().Add(p.Time)
	if reason := lab.Unmet(append(disk.Tools(), append(lab.SystemTools, "runc", "go")...)...); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	if reason := lab.NoLazy(); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
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
	s, err := newStage(ctx, p, l, out)
	if err != nil {
		return err
	}
	defer s.mount.Close()
	for _, rows := range []struct {
		name string
		make func(context.Context) ([]row, error)
	}{{startRow, s.starts}, {randomRow, s.randoms}, {filesRow, s.files}, {buildRow, s.builds}, {crowdRow, s.crowds}} {
		if !p.has(rows.name) {
			continue
		}
		all, err := rows.make(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", rows.name, err)
		}
		for _, r := range all {
			if err := s.measure(ctx, r, end); err != nil {
				return fmt.Errorf("%s: %w", r.key, err)
			}
		}
	}
	return nil
}

// measure does the runs of one row and writes its cell.
func (s *stage) measure(ctx context.Context, r row, end time.Time) error {
	var runs []run
	var longest time.Duration
	for i := range s.plan.Runs {
		begin := time.Now()
		if i > 0 && begin.Add(longest).After(end) {
			fmt.Fprintf(s.out, "%s: %d runs of %d: another one would not end within TIME=%v\n", r.key, i, s.plan.Runs, s.plan.Time)
			break
		}
		one, err := r.run(ctx, i)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		runs = append(runs, one)
		longest = max(longest, time.Since(begin))
	}
	key := r.key
	if s.plan.Quick {
		key += "-quick"
	}
	c := newCell(r.unit, r.facts, r.names, runs)
	if err := c.write(reportPath, key); err != nil {
		return err
	}
	for _, line := range c.table(key) {
		fmt.Fprintln(s.out, line)
	}
	return nil
}

// inTurn calls the parts of a run in their order, or in the opposite one in every
// second run: the machine may be another one a minute later.
func inTurn(number int, parts ...func() error) error {
	for i := range parts {
		if number%2 == 1 {
			i = len(parts) - 1 - i
		}
		if err := parts[i](); err != nil {
			return err
		}
	}
	return nil
}

// takes measures a part of a run.
func (r run) takes(name string, f func() (float64, error)) error {
	one, err := during(f)
	r[name] = one
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
