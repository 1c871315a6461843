// Command darterd is darter on a node: it catches the node's content fetches and
// serves them from the piece network. With seed.enable it reads origins for others.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/internal/version"
)

func main() {
	ctx, stop := process.Signals(context.Background())
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "darterd:", err)
	}
	os.Exit(process.ExitCode(err))
}

const printHeader = "darterd's configuration: every key with its default. Durations are like 5s, sizes like 10GiB."

func command() *cobra.Command {
	var path string
	var printDefault bool
	c := &cobra.Command{
		Use:           "darterd",
		Short:         "serve this node's content fetches from the piece network",
		Args:          cobra.NoArgs,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printDefault {
				return printDefaults(cmd.OutOrStdout())
			}
			cfg, err := load(path, cmd.Flags().Changed("config"))
			if err != nil {
				return err
			}
			return run(cmd.Context(), cfg)
		},
	}
	c.SetVersionTemplate("{{.Version}}\n")
	c.Flags().StringVar(&path, "config", "/etc/darter/darterd.toml", "configuration file")
	c.Flags().BoolVar(&printDefault, "print-default-config", false, "print every key with its default, and exit")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	})
	return c
}

func printDefaults(w io.Writer) error {
	cfg := defaultConfig()
	return config.Print(w, printHeader, &cfg)
}

// load reads the configuration; without a file the defaults hold, unless one was named.
func load(path string, named bool) (*Config, error) {
	cfg := defaultConfig()
	err := config.Load(path, &cfg)
	if errdefs.IsNotFound(err) && !named {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	level, err := logrus.ParseLevel(cfg.Log.Level)
	if err != nil {
		return nil, err
	}
	logrus.SetLevel(level)
	log.L = log.L.WithField("program", "darterd")
	return &cfg, nil
}
