// Command demo shows darter at work on this machine: a registry, a manager, a scheduler, a
// seed and three containerd nodes, each in a network namespace with a link of
// 1 Gbit/s, pull one image at once, cold: one through the snapshot door, two through
// the mirror. It shows who gets what from whom, compares the nodes' root file systems,
// starts the image lazily as a Nydus image, has the manager preheat another image, writes
// out/demo.json, and ends with 1 if a goal was missed. It needs root.
//
// The image is made from this machine's own files, or is the one that $IMAGE
// names: the folder of an OCI layout, or a reference in a registry.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/darter-p2p/darter/integration/lab"
)

// reportPath is where the report is written.
const reportPath = "out/demo.json"

// errMissed says that the demo went to its end and did not reach its goals.
var errMissed = errors.New("goals missed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the second signal ends the program; the lab is removed all the same
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// run shows the demo and judges it.
func run(ctx context.Context) (err error) {
	if reason := lab.Unmet(lab.SystemTools...); reason != "" {
		return fmt.Errorf("it cannot run here: %s", reason)
	}
	l, err := lab.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() {
		// A demo that was interrupted, or came to its end, has nothing to explain.
		if err != nil && ctx.Err() == nil && !errors.Is(err, errMissed) {
			fmt.Fprint(os.Stderr, l.Logs(25))
		}
		if closed := l.Close(); err == nil {
			err = closed
		}
	}()
	report, err := show(ctx, l, os.Stdout)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	if err := report.Write(reportPath); err != nil {
		return err
	}
	fmt.Printf("report: %s\n", reportPath)
	misses := report.Misses()
	for _, miss := range misses {
		fmt.Printf("MISSED: %s\n", miss)
	}
	if len(misses) > 0 {
		return fmt.Errorf("%d %w", len(misses), errMissed)
	}
	fmt.Println("all goals reached")
	return nil
}
