// Command lazy measures containers of Nydus images whose data is not on the node: how
// soon they start, and what reading costs them, beside ordinary images that were pulled
// whole. `make bench-lazy` starts it; DESIGN.md says what its figures mean. It needs
// root.
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
	err := errors.New("it takes no arguments; `make bench-lazy` and DESIGN.md name its variables")
	if len(os.Args) == 1 {
		err = bench(ctx, os.Getenv, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lazy: %v\n", err)
		os.Exit(1)
	}
}
