package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/version"
)

// command returns the whole program with its arguments set. Errors of usage are
// ErrInvalidArgument.
func command(out, errOut io.Writer, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "darter",
		Short: "Ask a darter node what it does, prepare it, download files, convert images, and make certificates",
		Long: `darter asks the darterd of this host what it is doing and where bytes came from,
puts it into containerd's configuration, says what is wrong with the node, downloads
files, makes Nydus images for lazy starts, and the certificates of a cluster. It signs in
at a manager (login), asks it to bring images and files to nodes ahead (preheat), and shows
its jobs, clusters, nodes and their settings.

Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 darterd is not running or does
not answer; 4 there is no such task, image or file. get and convert have more.`,
		Version:       version.String(),
		SilenceErrors: true, // main prints them
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return errors.Join(c.Help(), fmt.Errorf("a command is missing: %w", errdefs.ErrInvalidArgument))
		},
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetArgs(args)
	root.SetVersionTemplate("darter {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help): %w", err, c.CommandPath(), errdefs.ErrInvalidArgument)
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(caCommand(), statusCommand(), tasksCommand(), explainCommand(), getCommand(), convertCommand(), initCommand(), doctorCommand(), preheatCommand(), jobCommand(),
		loginCommand(), logoutCommand(), clusterCommand(), nodeCommand(), configCommand(), joinTokenCommand(), certificateCommand())
	return root
}

// usage marks the errors of an argument check as those of usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return fmt.Errorf("%w (see %s --help): %w", err, c.CommandPath(), errdefs.ErrInvalidArgument)
		}
		return nil
	}
}
