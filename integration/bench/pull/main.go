// Command pull measures a cold pull of an image by plain containerd, by darter's
// registry mirror and by its snapshot door, side by side on the same registry and
// links. `make bench-pull` starts it; DESIGN.md says what its figures mean. It needs
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
	err := errors.New("it takes no arguments; `make bench-pull` and DESIGN.md name its variables")
	if len(os.Args) == 1 {
		err = bench(ctx, os.Getenv, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "pull: %v\n", err)
		os.Exit(1)
	}
}
