// Command direct measures whether darter is ever slower than no darter: one node alone,
// and two nodes that reach a fast registry but have 10 Mbit/s between them, each against
// curl on the same hosts; and whether darter keeps the limits that it is set. `make bench-direct` starts it; it needs root and writes
// out/bench-direct.json. Curl and darter take turns, each time with a new content; the
// figures are medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/darter-p2p/darter/integration/bench/figure"
	"github.com/darter-p2p/darter/integration/lab"
)

const (
	size     = 64 << 20        // bytes of a content
	link     = 200 * lab.Mbit  // of a node
	origin   = 1000 * lab.Mbit // of the registry
	between  = 10 * lab.Mbit   // from node to node, where there are two
	limited  = 80 * lab.Mbit   // of bytes, where darter's own limit is measured
	measured = 3               // times that each takes its turn
)

func main() {
	only := flag.String("only", "", "measure the scenarios whose name contains this, and write no file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second signal ends the program; the lab is removed all the same
	err := bench(ctx, os.Stdout, *only)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "direct: %v\n", err)
		os.Exit(1)
	}
}

// report is out/bench-direct.json. Times are seconds, of the node that was last.
type report struct {
	Size      int64      `json:"size"`
	Link      string     `json:"link"`
	Scenarios []scenario `json:"scenarios"`
}

// scenario is what one set of hosts took.
type scenario struct {
	Name   string    `json:"name"`
	Ratio  float64   `json:"ratio"`                 // darter / curl, medians
	Limit  float64   `json:"limit_ratio,omitempty"` // rate / the limit that was set
	Curl   []float64 `json:"curl_s"`
	Darter []float64 `json:"darter_s"`
}

func bench(ctx context.Context, out io.Writer, only string) error {
	if reason := lab.Unmet("docker-registry", "curl"); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	r := report{Size: size, Link: link.String()}
	for _, s := range []struct {
		name  string
		nodes int
		seed  bool
		limit string // the key of [limits] that is set
	}{
		{"one node", 1, false, ""},
		{"one node and a seed", 1, true, ""},
		{"two nodes, 10mbit between them", 2, false, ""},
		{"one node, download limited to 80mbit", 1, false, "download"},
		{"one node, a task limited to 80mbit", 1, false, "task"},
		{"one node and a seed, the class window limited to 80mbit", 1, true, "window"},
	} {
		if !strings.Contains(s.name, only) {
			continue
		}
		got := scenario{Name: s.name}
		if err := measure(ctx, s.nodes, s.seed, s.limit, &got); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		got.Ratio = figure.Median(got.Darter) / figure.Median(got.Curl)
		if s.limit != "" {
			got.Limit = limited.Seconds(size) / figure.Median(got.Darter)
		}
		r.Scenarios = append(r.Scenarios, got)
		fmt.Fprintf(out, "%s: curl %.2f s, darter %.2f s, ratio %.3f, of the limit %.3f\n", s.name, got.Curl, got.Darter, got.Ratio, got.Limit)
	}
	if only != "" {
		return nil
	}
	return figure.Write(r, "out/bench-direct.json")
}

// measure lets curl and darter take turns on a lab of its own.
func measure(ctx context.Context, nodes int, seed bool, limit string, into *scenario) (err error) {
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := newStage(ctx, l, nodes, seed, limit)
	if err != nil {
		return err
	}
	for i := range 1 + measured { // the first of each warms everything up
		for _, way := range []struct {
			url  func(digest string) string
			into *[]float64
		}{{s.plainURL, &into.Curl}, {s.mirrorURL, &into.Darter}} {
			took, err := s.get(ctx, way.url)
			if err != nil {
				return err
			}
			if i > 0 {
				*way.into = append(*way.into, took.Seconds())
			}
		}
	}
	return nil
}
