package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/plugin/doctor"
	"github.com/darter-p2p/darter/plugin/dropin"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

func doctorCommand() *cobra.Command {
	var darterd, format string
	n := doctor.Node{Containerd: dropin.Default()}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "What is wrong with this node, and what to do",
		Long: `doctor looks at darterd, its certificate and store, and at how containerd uses darter.
It changes nothing. Exit code 1 if something fails; warnings are 0.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return fmt.Errorf("--format %q: want table or json: %w", format, errdefs.ErrInvalidArgument)
			}
			set, err := readNodeSettings(darterd)
			if err != nil {
				return err
			}
			o := &n.Containerd
			o.Socket, o.Root, o.Mirror, o.RemapIDs = set.Snapshot.Socket, set.Snapshot.Root, set.mirrorURL(), dropin.RemapsIDs()
			n.Config, n.Seed, n.Snapshots = darterd, set.Seed.Enable, set.Snapshot.Enable
			n.TLS = pki.Files{CA: set.TLS.CA, Cert: set.TLS.Cert, Key: set.TLS.Key}
			n.PeerListen, n.Schedulers, n.Now = set.Peer.Listen, set.Scheduler.Addresses, time.Now()
			if set.Rafs.Socket != "" {
				rafs := client.New(set.Rafs.Socket)
				defer rafs.Close()
				n.Lazy = rafs.Status
			}
			n.Status = func(ctx context.Context) (s darterdv1.Status, err error) {
				body, err := ask(ctx, set.Control.Socket, darterdv1.StatusPath, nil)
				if err == nil {
					err = json.Unmarshal(body, &s)
				}
				return s, err
			}
			return printFindings(c, format, doctor.Examine(c.Context(), n))
		},
	}
	f := c.Flags()
	f.StringVar(&n.Containerd.Config, "config", n.Containerd.Config, "containerd's main configuration file")
	f.StringVar(&n.Containerd.Binary, "containerd", n.Containerd.Binary, "the containerd program")
	f.StringVar(&n.Containerd.HostsDir, "hosts-dir", n.Containerd.HostsDir, "certs.d directory for a containerd that has none set")
	f.StringVar(&n.Address, "address", containerdSocket, "containerd's socket")
	f.StringVar(&n.Kubelet, "kubelet-config", "/var/lib/kubelet/config.yaml", "the kubelet's configuration")
	f.StringVar(&darterd, "darterd-config", darterdConfig, "darterd's configuration")
	f.StringVar(&format, "format", "table", "table, for people, or json, for programs")
	return c
}

func printFindings(c *cobra.Command, format string, all []doctor.Finding) error {
	w := c.OutOrStdout()
	if format == "json" {
		text, err := json.Marshal(all)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\n", text)
	} else {
		t := newTable("")
		for _, f := range all {
			t.row(string(f.Level), f.Check, f.Found)
			if f.Do != "" {
				t.row("", "", "→ "+f.Do)
			}
		}
		t.print(w)
	}
	failed := 0
	for _, f := range all {
		if f.Level == doctor.Fail {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(all))
	}
	return nil
}
