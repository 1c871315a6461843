// Command darter-rafs is the mount server: it mounts Nydus (RAFS v6) images whose data
// is not on the node yet, for darterd's snapshotter plugin.
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
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/plugin/rafs/server"
)

// keep is the argument that makes this program a keeper. It is for the program itself.
const keep = "keep"

func main() {
	if len(os.Args) == 3 && os.Args[1] == keep {
		os.Exit(process.ExitCode(keeper(os.Args[2])))
	}
	ctx, stop := process.Signals(context.Background())
	err := command(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "darter-rafs:", err)
	}
	os.Exit(process.ExitCode(err))
}

// keeper holds the connection to the kernel for the mount server that started it.
func keeper(patience string) error {
	d, err := time.ParseDuration(patience)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	// It costs next to nothing and holds up every container: let others go first. Where
	// that is not allowed it is as good as others.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	return server.KeepAt(3, d)
}

// command does what the arguments say.
func command(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := flag.NewFlagSet("darter-rafs", flag.ContinueOnError)
	flags.SetOutput(errOut)
	path := flags.String("config", "/etc/darter/rafs.toml", "configuration `file`; without this flag it may be missing")
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
		_, err := fmt.Fprintln(out, "darter-rafs", version.String())
		return err
	case *printDefault:
		return config.Print(out, "Configuration of darter-rafs. Every key is shown with its default.", &cfg)
	}
	named := false
	flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	if err := config.Load(*path, &cfg); err != nil && (named || !errdefs.IsNotFound(err)) {
		if errdefs.IsNotFound(err) {
			return fmt.Errorf("%w (make one with --print-default-config): %w", errdefs.ErrInvalidArgument, err)
		}
		return err
	}
	return run(ctx, cfg)
}
