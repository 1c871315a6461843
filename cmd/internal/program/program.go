// Package program is what the command lines of darter's daemons have in common: a
// configuration file, --print-default-config, --version, and a run that signals end.
//
// Exit codes: 0 stopped by a signal; 1 failed; 2 wrong arguments or configuration.
package program

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

// Daemon is one with a configuration of type C, which package config reads.
type Daemon[C any] struct {
	Name    string
	File    string // the configuration where --config names none; it may be missing
	Default func() C
	Run     func(ctx context.Context, out io.Writer, cfg C) error // until ctx ends
}

// Main is the program's main. It does not return.
func (p Daemon[C]) Main() {
	ctx, stop := process.Signals(context.Background())
	err := p.Command(ctx, os.Stdout, os.Stderr, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
	}
	os.Exit(process.ExitCode(err))
}

// Command does what the arguments say. What is wrong with them or with the
// configuration is ErrInvalidArgument.
func (p Daemon[C]) Command(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(errOut)
	path := flags.String("config", p.File, "configuration `file`; without this flag it may be missing")
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
	cfg := p.Default()
	switch {
	case *printVersion:
		_, err := fmt.Fprintln(out, p.Name, version.String())
		return err
	case *printDefault:
		return config.Print(out, "Configuration of "+p.Name+". Every key is shown with its default.", &cfg)
	}
	named := false
	flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	switch err := config.Load(*path, &cfg); {
	case errdefs.IsNotFound(err) && named:
		return fmt.Errorf("%w (make one with --print-default-config): %w", errdefs.ErrInvalidArgument, err)
	case err != nil && !errdefs.IsNotFound(err):
		return err
	}
	return p.Run(ctx, out, cfg)
}
