// Command swarm measures how long a swarm of real darter nodes on shaped links needs
// for some layers, against the bound that the links set, and what it costs against
// plain curl in the same run. `make bench-swarm` starts it; DESIGN.md says what its
// figures mean. It needs root.
//
// It starts itself again for its helpers, which are to be counted apart: `swarm relay`
// in front of the registry, `swarm fetch` as a node's client.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second signal ends the program; the lab is removed all the same
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "swarm: %v\n", err)
		os.Exit(1)
	}
}

// dispatch runs the benchmark, or the helper that the arguments name.
func dispatch(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return bench(ctx, os.Getenv, os.Stdout)
	case args[0] == relayCommand && len(args) == 4:
		return relayMain(ctx, args[1], args[2], args[3])
	case args[0] == fetchCommand && len(args) > 3:
		return fetchMain(ctx, args[1], args[2], args[3:], os.Stdin, os.Stdout)
	}
	return errors.New("it takes no arguments; `make bench-swarm` and DESIGN.md name its variables")
}
