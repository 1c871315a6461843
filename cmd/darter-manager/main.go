// Command darter-manager runs many clusters from one place: it knows their schedulers,
// seeds and nodes, changes their settings while they run, keeps jobs, users and audits,
// and serves a REST API. Nothing on a node's download path waits for it.
//
// The first start makes the user root, with the password in DARTER_ROOT_PASSWORD or a
// random one that is printed once.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 wrong arguments or configuration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/version"
)

func main() {
	ctx, stop := process.Signals(context.Background())
	err := command(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "darter-manager:", err)
	}
	os.Exit(process.ExitCode(err))
}

// command does what the arguments say.
func command(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := flag.NewFlagSet("darter-manager", flag.ContinueOnError)
	flags.SetOutput(errOut)
	path := flags.String("config", "", "configuration `file`; without one the defaults count")
	printDefault := flags.Bool("print-default-config", false, "print a configuration file with all defaults and end")
	printVersion := flags.Bool("version", false, "print the version and end")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errdefs.ErrInvalidArgument)
	}
	cfg := Default()
	switch {
	case *printVersion:
		_, err := fmt.Fprintln(out, "darter-manager", version.String())
		return err
	case *printDefault:
		return config.Print(out, "Configuration of darter-manager. Every key is shown with its default.", &cfg)
	}
	if *path != "" {
		if err := config.Load(*path, &cfg); err != nil {
			if errdefs.IsNotFound(err) {
				return fmt.Errorf("%w (make one with --print-default-config): %w", errdefs.ErrInvalidArgument, err)
			}
			return err
		}
	}
	return run(ctx, out, cfg)
}
