package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/pki"
)

const day = 24 * time.Hour

func caCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make the certificates of a cluster",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("say init or issue (see %s --help): %w", c.CommandPath(), errdefs.ErrInvalidArgument)
		},
	}
	c.AddCommand(caInitCommand(), caIssueCommand())
	return c
}

func caInitCommand() *cobra.Command {
	var (
		cluster, dir string
		days         int
	)
	c := &cobra.Command{
		Use:   "init --cluster NAME --dir DIR",
		Short: "Make the CA of a cluster: ca.crt for every member, ca.key to be kept",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			validFor, err := validity(days)
			if err != nil {
				return err
			}
			ca, err := pki.CreateCA(cluster, time.Now(), validFor)
			if err != nil {
				return err
			}
			if err := ca.Write(dir); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "CA of cluster %s in %s, valid until %s. Keep ca.key secret; members need only ca.crt.\n",
				cluster, dir, ca.Certificate().NotAfter.Format(time.DateOnly))
			return nil
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "name of the cluster: lower-case letters, digits, '.', '-', '_'")
	c.Flags().StringVar(&dir, "dir", "", "directory to write to")
	c.Flags().IntVar(&days, "days", pki.DefaultCADays, "validity in days")
	require(c, "cluster", "dir")
	return c
}

func caIssueCommand() *cobra.Command {
	var (
		dir, role, name string
		dns, ips        []string
		days            int
	)
	c := &cobra.Command{
		Use:   "issue --role ROLE --name NAME --dir DIR",
		Short: "Issue a certificate: NAME.crt and NAME.key beside the CA, renewed in place if they are there",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			validFor, err := validity(days)
			if err != nil {
				return err
			}
			r := pki.Request{Name: name, DNS: dns, ValidFor: validFor}
			if r.Role, err = pki.ParseRole(role); err != nil {
				return err
			}
			if r.IPs, err = parseIPs(ips); err != nil {
				return err
			}
			ca, err := pki.LoadCA(dir)
			if err != nil {
				return err
			}
			pair, err := ca.Issue(r, time.Now())
			if err != nil {
				return err
			}
			files, err := pair.Write(dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s, valid until %s\n  ca   %s\n  cert %s\n  key  %s\n",
				pki.Name{Cluster: ca.Cluster(), Role: r.Role, Name: name}, pair.Cert.NotAfter.Format(time.DateOnly), files.CA, files.Cert, files.Key)
			return nil
		},
	}
	var roles []string
	for _, r := range pki.Roles() {
		roles = append(roles, string(r))
	}
	c.Flags().StringVar(&dir, "dir", "", "directory of the CA, which is written to as well")
	c.Flags().StringVar(&role, "role", "", "what the member may do: "+strings.Join(roles, ", "))
	c.Flags().StringVar(&name, "name", "", "name of the member; of a node or seed, its host identity")
	c.Flags().StringSliceVar(&dns, "dns", nil, "host names, for clients that check them (browsers, curl)")
	c.Flags().StringSliceVar(&ips, "ip", nil, "addresses, likewise")
	c.Flags().IntVar(&days, "days", pki.DefaultDays, "validity in days, at most the CA's")
	require(c, "dir", "role", "name")
	return c
}

func validity(days int) (time.Duration, error) {
	const most = 100 * 365
	if days < 1 || days > most {
		return 0, fmt.Errorf("--days %d: want 1 to %d: %w", days, most, errdefs.ErrInvalidArgument)
	}
	return time.Duration(days) * day, nil
}

func parseIPs(texts []string) ([]net.IP, error) {
	var ips []net.IP
	for _, s := range texts {
		ip := net.ParseIP(s)
		if ip == nil {
			return nil, fmt.Errorf("--ip %q is not an address: %w", s, errdefs.ErrInvalidArgument)
		}
		ips = append(ips, ip)
	}
	return ips, nil
}

// require makes flags mandatory, with an error of usage that names what is missing.
func require(c *cobra.Command, flags ...string) {
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		for _, name := range flags {
			if c.Flags().Lookup(name).Value.String() == "" {
				return fmt.Errorf("--%s is missing (see %s --help): %w", name, c.CommandPath(), errdefs.ErrInvalidArgument)
			}
		}
		return nil
	}
}
