package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/plugin/dropin"
)

const containerdSocket = "/run/containerd/containerd.sock"

func initCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "init",
		Short: "Make darter a part of this node's containerd, or take it away",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("say containerd (see %s --help): %w", c.CommandPath(), errdefs.ErrInvalidArgument)
		},
	}
	c.AddCommand(initContainerdCommand())
	return c
}

// containerdInit is the command darter init containerd.
type containerdInit struct {
	options        dropin.Options
	darterd        string
	address        string
	dry, yes       bool
	remove, force  bool
	restart        bool
	terminalAnswer func(*cobra.Command) (yes, terminal bool)
}

func initContainerdCommand() *cobra.Command {
	i := &containerdInit{options: dropin.Default(), terminalAnswer: confirm}
	c := &cobra.Command{
		Use:   "containerd",
		Short: "Write containerd's drop-in for darter, and the mirror into certs.d",
		Long: `init containerd makes darter a snapshotter plugin of this node's containerd and its
registry mirror. It asks containerd for its merged configuration, shows the
difference, and writes it when it is told to: on a terminal it asks, elsewhere it
needs --yes. What was there is kept in /etc/darter/containerd.before, and --remove
restores every byte of it. containerd is not restarted unless --restart says so.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return i.run(c) },
	}
	f := c.Flags()
	f.StringVar(&i.options.Config, "config", i.options.Config, "containerd's main configuration file")
	f.StringVar(&i.options.Binary, "containerd", i.options.Binary, "the containerd program")
	f.StringVar(&i.address, "address", containerdSocket, "containerd's socket, asked by --remove for what is in use")
	f.StringVar(&i.darterd, "darterd-config", darterdConfig, "darterd's configuration, for the addresses of its doors")
	f.StringVar(&i.options.HostsDir, "hosts-dir", i.options.HostsDir, "certs.d directory for a containerd that has none set")
	f.StringVar(&i.options.Kept, "kept", i.options.Kept, "directory of what was there before")
	f.BoolVar(&i.options.CRI, "cri", false, "make darter the snapshotter of CRI (the kubelet, crictl); images are pulled again")
	f.StringSliceVar(&i.options.Hosts, "mirror-host", nil, "registry with a hosts.toml of its own that should use the mirror too; may be repeated")
	f.BoolVar(&i.options.AllHosts, "all", false, "as --mirror-host, for every registry with a hosts.toml of its own")
	f.BoolVar(&i.dry, "dry-run", false, "only show the difference")
	f.BoolVar(&i.yes, "yes", false, "do not ask")
	f.BoolVar(&i.remove, "remove", false, "restore what was there before")
	f.BoolVar(&i.force, "force", false, "with --remove: also files that were changed since, and while darter's snapshots exist")
	f.BoolVar(&i.restart, "restart", false, "systemctl restart containerd afterwards")
	return c
}

func (i *containerdInit) run(c *cobra.Command) error {
	set, err := readNodeSettings(i.darterd)
	if err != nil {
		return err
	}
	i.options.Socket, i.options.Root, i.options.Mirror = set.Snapshot.Socket, set.Snapshot.Root, set.mirrorURL()
	if i.remove {
		return i.takeAway(c)
	}
	i.options.RemapIDs = dropin.RemapsIDs()
	plan, err := dropin.Init(c.Context(), i.options)
	if err != nil {
		return err
	}
	if plan.Restart && !set.Snapshot.Enable {
		plan.Notes = append(plan.Notes, "darterd does not serve the snapshotter yet: set enable = true in [snapshot] of "+i.darterd+" and restart it; until then pulls into darter fail, and all others go on.")
	}
	return i.do(c, plan, func() error { return plan.Apply(i.options.Kept) })
}

func (i *containerdInit) takeAway(c *cobra.Command) error {
	removal, err := dropin.Remove(i.options.Kept, i.force)
	if err != nil {
		return err
	}
	if removal.Empty() {
		fmt.Fprintf(c.OutOrStdout(), "nothing to do: init has written nothing that %s knows of\n", i.options.Kept)
		return nil
	}
	if err := i.drained(c); err != nil {
		return err
	}
	return i.do(c, &removal.Plan, removal.Apply)
}

// drained returns an error, with the commands that help printed, while darter has
// snapshots.
func (i *containerdInit) drained(c *cobra.Command) error {
	w := c.OutOrStdout()
	uses, err := dropin.InUse(c.Context(), i.address)
	if err != nil {
		n, countErr := dropin.OnDisk(i.options.Root)
		if countErr != nil {
			return errors.Join(err, countErr)
		}
		if n == 0 || i.force {
			return nil
		}
		return fmt.Errorf("%d snapshots are in %s, and containerd does not say whose they are (%w): start containerd and darterd, and run this again, or give them up by --force: %w",
			n, i.options.Root, err, errdefs.ErrFailedPrecondition)
	}
	if len(uses) == 0 {
		return nil
	}
	for _, u := range uses {
		fmt.Fprintf(w, "# namespace %s: %d snapshots, %d containers, %d images\n", printable(u.Namespace), u.Snapshots, len(u.Containers), len(u.Images))
		for _, line := range u.Drain(i.address) {
			fmt.Fprintln(w, printable(line))
		}
	}
	if i.force {
		fmt.Fprintln(w, "# --force: they are left behind; containerd cannot start their containers any more")
		return nil
	}
	return fmt.Errorf("darter's snapshots are in use: run the commands above, then this again: %w", errdefs.ErrFailedPrecondition)
}

// do shows a plan, and has it done when that is wanted.
func (i *containerdInit) do(c *cobra.Command, plan *dropin.Plan, apply func() error) error {
	w := c.OutOrStdout()
	fmt.Fprint(w, plan.Diff())
	for _, n := range plan.Notes {
		fmt.Fprintln(w, "note:", printable(n))
	}
	if len(plan.Changes) == 0 && !i.remove {
		fmt.Fprintln(w, "nothing to do")
		return nil
	}
	if i.dry {
		return nil
	}
	if !i.yes {
		yes, terminal := i.terminalAnswer(c)
		if !terminal {
			fmt.Fprintln(w, "nothing was written: say --yes to write it")
			return nil
		}
		if !yes {
			fmt.Fprintln(w, "nothing was written")
			return nil
		}
	}
	if err := apply(); err != nil {
		return err
	}
	fmt.Fprintln(w, "done")
	switch {
	case !plan.Restart:
	case i.restart:
		return systemctl(c.Context(), w, "restart", "containerd")
	default:
		fmt.Fprintln(w, "containerd reads this when it starts: systemctl restart containerd (running containers go on)")
	}
	return nil
}

// confirm asks on a terminal.
func confirm(c *cobra.Command) (yes, terminal bool) {
	in, ok := c.InOrStdin().(*os.File)
	if !ok {
		return false, false
	}
	if _, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err != nil {
		return false, false
	}
	fmt.Fprint(c.OutOrStdout(), "write this? [y/N] ")
	var said string
	fmt.Fscanln(in, &said) //nolint:errcheck // no answer is no
	return strings.EqualFold(said, "y") || strings.EqualFold(said, "yes"), true
}

func systemctl(ctx context.Context, w io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
