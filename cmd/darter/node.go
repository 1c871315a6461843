package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/manager/model"
)

// nodeFilter are the flags by which members are chosen.
type nodeFilter struct {
	role, cluster, state, search, format string
}

func nodeCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "node",
		Short: "Show the manager's nodes, seeds and schedulers, and put them out",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("which command of node? (see darter node --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(nodeListCommand(m), nodeShowCommand(m), revokeCommand(m))
	return c
}

func nodeListCommand(m *managerClient) *cobra.Command {
	f := &nodeFilter{}
	c := &cobra.Command{
		Use: "list", Short: "List nodes, seeds and schedulers", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := f.members(c.Context(), m)
			if err != nil {
				return err
			}
			if f.format == "json" {
				return encode(c.OutOrStdout(), all)
			}
			t := newTable("<<>", "NAME", "ROLE", "CLUSTER", "STATE", "ADDRESS", "ZONE", "SETTINGS", "VERSION", "SEEN")
			for _, one := range all {
				t.row(one.Name, string(one.Role), strconv.FormatInt(one.ClusterID, 10), string(one.State), or(one.Address, or(one.IP, "-")),
					or(one.IDC, "-"), bound(one.ConfigVersion), or(one.Version, "-"), age(one.SeenAt.Time, time.Now()))
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	c.Flags().StringVar(&f.role, "role", "", "only node, seed or scheduler")
	c.Flags().StringVar(&f.cluster, "cluster", "", "only those of this cluster, by name or number")
	c.Flags().StringVar(&f.state, "state", "", "only active or inactive")
	c.Flags().StringVar(&f.search, "search", "", "only those whose name holds this text")
	formatFlag(c, &f.format)
	return c
}

func nodeShowCommand(m *managerClient) *cobra.Command {
	f := &nodeFilter{}
	c := &cobra.Command{
		Use: "show NAME", Short: "Show a node, seed or scheduler", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f.search = args[0]
			all, err := f.members(c.Context(), m)
			if err != nil {
				return err
			}
			found := all[:0]
			for _, one := range all {
				if one.Name == args[0] {
					found = append(found, one)
				}
			}
			switch {
			case len(found) == 0:
				return &failure{process.ExitNotFound, fmt.Errorf("no node, seed or scheduler %q (see darter node list)", args[0])}
			case len(found) > 1:
				return fmt.Errorf("%d members are called %s: say which by --role: %w", len(found), args[0], errdefs.ErrInvalidArgument)
			case f.format == "json":
				return encode(c.OutOrStdout(), found[0])
			}
			printMember(c, found[0])
			return nil
		},
	}
	c.Flags().StringVar(&f.role, "role", "", "node, seed or scheduler, where several are called alike")
	formatFlag(c, &f.format)
	return c
}

// members returns those whom the filter chooses.
func (f *nodeFilter) members(ctx context.Context, m *managerClient) ([]model.Member, error) {
	if err := checkFormat(f.format); err != nil {
		return nil, err
	}
	q := url.Values{}
	if f.state != "" {
		q.Set("state", f.state)
	}
	if f.search != "" {
		q.Set("search", f.search)
	}
	if f.cluster != "" {
		one, err := findCluster(ctx, m, f.cluster)
		if err != nil {
			return nil, err
		}
		q.Set("cluster_id", strconv.FormatInt(one.ID, 10))
	}
	all, known := []model.Member{}, false
	for _, kind := range memberPaths {
		if f.role != "" && f.role != string(kind.role) {
			continue
		}
		known = true
		some, err := listAll[model.Member](ctx, m, kind.path, q)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if !known {
		return nil, fmt.Errorf("--role %s: want node, seed or scheduler: %w", f.role, errdefs.ErrInvalidArgument)
	}
	return all, nil
}

func printMember(c *cobra.Command, one model.Member) {
	t := newTable("")
	for _, line := range [][2]string{
		{"name", one.Name}, {"role", string(one.Role)}, {"id", strconv.FormatInt(one.ID, 10)}, {"cluster", strconv.FormatInt(one.ClusterID, 10)},
		{"pinned", yes(one.Pinned)}, {"state", string(one.State)}, {"seen", age(one.SeenAt.Time, time.Now()) + " ago"}, {"hostname", one.Hostname},
		{"ip", one.IP}, {"address", one.Address}, {"jobs at", one.JobAddress}, {"zone", one.IDC}, {"location", one.Location},
		{"version", one.Version}, {"settings in force", bound(one.ConfigVersion)},
	} {
		t.row(line[0], or(line[1], "-"))
	}
	t.print(c.OutOrStdout())
}
