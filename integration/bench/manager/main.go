// Command manager measures one darter-manager on SQLite with many nodes: each simulated
// node has its own gRPC connection with its own certificate, says hello, keeps alive and
// follows what is set, as internal/dynamic does, but without a disk. `make bench-manager`
// starts it; it writes out/bench-manager.json.
//
// The nodes run on the same machine, so that their work slows the manager down; what is
// counted is the manager's own process. All phases follow one another on one manager:
// all nodes connect; they keep alive and nothing else happens; configurations change
// while REST lists are read; the manager is killed and all nodes come back.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/darter-p2p/darter/integration/bench/figure"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second signal ends the program
	err := bench(ctx, os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(1)
	}
}

// plan is what is measured.
type plan struct {
	Nodes   int     `json:"nodes"`
	Idle    float64 `json:"idle_s"`    // how long nothing but keeping alive is measured
	Changes int     `json:"changes"`   // of configurations, changePause apart
	Lists   int     `json:"lists_rps"` // lists read in a second meanwhile
	Dialing int     `json:"dialing"`   // nodes that shake hands at a time
	program string
}

func readPlan(env func(string) string) (plan, error) {
	p := plan{Nodes: 10000, Idle: 45, Changes: 8, Lists: 20, Dialing: 64, program: env("DARTER_BIN") + "/darter-manager"}
	for name, into := range map[string]*int{"NODES": &p.Nodes, "CHANGES": &p.Changes, "LISTS": &p.Lists, "DIALING": &p.Dialing} {
		if text := env(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > 60000 {
				return p, fmt.Errorf("%s=%s: want 1 to 60000", name, text)
			}
			*into = n
		}
	}
	if text := env("IDLE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second {
			return p, fmt.Errorf("IDLE=%s: want a time from 1s", text)
		}
		p.Idle = d.Seconds()
	}
	return p, nil
}

func bench(ctx context.Context, env func(string) string, out io.Writer) error {
	p, err := readPlan(env)
	if err != nil {
		return err
	}
	r, err := measure(ctx, p, out)
	if err != nil {
		return err
	}
	r.print(out)
	return figure.Write(r, "out/bench-manager.json")
}
