package swarmsim

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// scenario is a script: what there is, what happens when, and what must come of it.
//
//	runs 10                 with the seeds of chance 1 … (default 3)
//	nodes 1000              ordinary nodes, node1 … node1000 (default 10)
//	seeds 1                 seeds, seed1 … (default 1)
//	pieces 256              of the task (default 256)
//	piece 1MiB              length (default 1MiB)
//	rate 1gbit              of every link, both ways (default 1gbit)
//	origin 1gbit            what one reader of the origin gets (default: rate)
//	latency 200us           of a message (default 200us)
//	stall 20ms/200ms        a node handles no message for so long, once in so long (default never)
//	detect 200ms            until a dead host is noticed (default 200ms)
//	held                    the seeds hold the task when it begins
//	at 1s join node1-node500
//	at 1s join node501-node1000 over 10s
//	at 2s kill seed1
//	at 0s slow node1-node50 0.1
//	at 0s liar node7
//	expect complete         every node that lives and joined holds the task
//	expect ratio <= 1.15    end of the last node / (pieces + floor(log2 nodes)) piece times
//	expect p99 <= 1.25      of the nodes that are not slow, in pieces piece times
//	expect origin <= 1.02   bytes read from the origin / size
//	expect seedcopies <= 2  bytes sent by seeds / size
//	expect frompeers >= 0.3 of the size, the least that a node had from nodes that are no seeds
//	expect banned >= 1      nodes that a liar's neighbours banned
type scenario struct {
	name              string
	nodes, seeds      int
	pieces            int
	piece             int64
	rate, origin      float64
	latency           time.Duration
	detect, limit     time.Duration
	stall, stallEvery time.Duration
	runs              int // seeds of chance
	held              bool
	steps             []step
	expect            []expectation
}

type step struct {
	at, over    time.Duration
	verb        string
	first, last string // nodes
	factor      float64
}

type expectation struct {
	what   string
	atMost bool
	value  float64
}

func parseScenario(name string, r io.Reader) (*scenario, error) {
	sc := &scenario{name: name, runs: 3, nodes: 10, seeds: 1, pieces: 256, piece: 1 << 20, rate: 125e6,
		latency: 200 * time.Microsecond, detect: 200 * time.Millisecond, limit: time.Hour}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := sc.line(words); err != nil {
			return nil, fmt.Errorf("%s:%d: %q: %w", name, n, strings.TrimSpace(line), err)
		}
	}
	if sc.origin == 0 {
		sc.origin = sc.rate
	}
	return sc, lines.Err()
}

func (sc *scenario) line(w []string) (err error) {
	switch {
	case w[0] == "held" && len(w) == 1:
		sc.held = true
	case w[0] == "at" && len(w) >= 4:
		return sc.step(w[1:])
	case w[0] == "expect" && len(w) == 2 && w[1] == "complete":
		sc.expect = append(sc.expect, expectation{what: "complete"})
	case w[0] == "expect" && len(w) == 4 && (w[2] == "<=" || w[2] == ">="):
		e := expectation{what: w[1], atMost: w[2] == "<="}
		e.value, err = strconv.ParseFloat(w[3], 64)
		sc.expect = append(sc.expect, e)
	case len(w) == 2:
		return sc.set(w[0], w[1])
	default:
		return fmt.Errorf("no such line")
	}
	return err
}

func (sc *scenario) set(key, value string) (err error) {
	switch key {
	case "nodes":
		sc.nodes, err = strconv.Atoi(value)
	case "runs":
		sc.runs, err = strconv.Atoi(value)
	case "seeds":
		sc.seeds, err = strconv.Atoi(value)
	case "pieces":
		sc.pieces, err = strconv.Atoi(value)
	case "piece":
		sc.piece, err = byteSize(value)
	case "rate":
		sc.rate, err = bitRate(value)
	case "origin":
		sc.origin, err = bitRate(value)
	case "latency":
		sc.latency, err = time.ParseDuration(value)
	case "stall":
		a, b, _ := strings.Cut(value, "/")
		if sc.stall, err = time.ParseDuration(a); err == nil {
			sc.stallEvery, err = time.ParseDuration(b)
		}
	case "detect":
		sc.detect, err = time.ParseDuration(value)
	case "limit":
		sc.limit, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("unknown setting %q", key)
	}
	return err
}

// step reads "<time> <verb> <node or range> [<factor> | over <time>]".
func (sc *scenario) step(w []string) (err error) {
	var st step
	if st.at, err = time.ParseDuration(w[0]); err != nil {
		return err
	}
	st.verb = w[1]
	st.first, st.last, _ = strings.Cut(w[2], "-")
	if st.last == "" {
		st.last = st.first
	}
	switch {
	case len(w) == 5 && w[3] == "over":
		st.over, err = time.ParseDuration(w[4])
	case len(w) == 4 && st.verb == "slow":
		st.factor, err = strconv.ParseFloat(w[3], 64)
	case len(w) != 3:
		return fmt.Errorf("what is %q?", strings.Join(w[3:], " "))
	}
	sc.steps = append(sc.steps, st)
	return err
}

func byteSize(s string) (int64, error) {
	for suffix, unit := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if v, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			return n * unit, err
		}
	}
	return 0, fmt.Errorf("want a size in KiB or MiB, not %q", s)
}

// bitRate reads a bit rate as bytes per second.
func bitRate(s string) (float64, error) {
	for suffix, unit := range map[string]float64{"mbit": 1e6 / 8, "gbit": 1e9 / 8} {
		if v, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseFloat(v, 64)
			return n * unit, err
		}
	}
	return 0, fmt.Errorf("want a rate in mbit or gbit, not %q", s)
}
