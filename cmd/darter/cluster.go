package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/manager/model"
)

// clusterBody is a cluster as the manager's REST takes it.
type clusterBody struct {
	Name          string       `json:"name"`
	Description   string       `json:"description,omitempty"`
	Scopes        model.Scopes `json:"scopes,omitzero"`
	Default       bool         `json:"is_default,omitempty"`
	JobsPerMinute int64        `json:"jobs_per_minute,omitempty"`
}

func clusterCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "cluster",
		Short: "Show and change the manager's clusters",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("list, show, create, update or delete? (see darter cluster --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(clusterListCommand(m), clusterShowCommand(m), clusterCreateCommand(m), clusterUpdateCommand(m), clusterDeleteCommand(m))
	return c
}

func clusterListCommand(m *managerClient) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List clusters", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			all, err := listAll[model.Cluster](c.Context(), m, "/clusters", nil)
			if err != nil {
				return err
			}
			if format == "json" {
				return encode(c.OutOrStdout(), all)
			}
			t := newTable(">", "ID", "NAME", "DEFAULT", "JOBS/MIN", "SCOPES", "DESCRIPTION")
			for _, one := range all {
				t.row(strconv.FormatInt(one.ID, 10), one.Name, yes(one.Default), bound(one.JobsPerMinute), scopesOf(one.Scopes), clip(one.Description, 60))
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	formatFlag(c, &format)
	return c
}

func clusterShowCommand(m *managerClient) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "show CLUSTER", Short: "Show a cluster, by name or number, and how many members it has", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			one, err := findCluster(c.Context(), m, args[0])
			if err != nil {
				return err
			}
			return printCluster(c, m, one, format)
		},
	}
	formatFlag(c, &format)
	return c
}

// clusterFlags are what may be said of a cluster.
type clusterFlags struct {
	body   clusterBody
	format string
}

func (f *clusterFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.body.Description, "description", "", "for people")
	c.Flags().StringSliceVar(&f.body.Scopes.CIDRs, "cidr", nil, "it is for nodes with an address in this network, such as 10.1.0.0/16; may be repeated")
	c.Flags().StringSliceVar(&f.body.Scopes.Hostnames, "hostname", nil, "it is for nodes whose host name this regular expression finds; may be repeated")
	c.Flags().StringSliceVar(&f.body.Scopes.IDCs, "idc", nil, "it is for nodes in this zone; may be repeated")
	c.Flags().StringVar(&f.body.Scopes.Location, "location", "", "it is for nodes at this place, region|zone|rack")
	c.Flags().BoolVar(&f.body.Default, "default", false, "it serves nodes that no cluster's scope names")
	c.Flags().Int64Var(&f.body.JobsPerMinute, "jobs-per-minute", 0, "most jobs that may be made for it in a minute; 0 = any number")
	formatFlag(c, &f.format)
}

func clusterCreateCommand(m *managerClient) *cobra.Command {
	f := &clusterFlags{}
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a cluster", Args: usage(cobra.ExactArgs(1)),
		Example: `  darter cluster create berlin --cidr 10.1.0.0/16 --idc berlin-1`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(f.format); err != nil {
				return err
			}
			f.body.Name = args[0]
			var made model.Cluster
			if err := m.ask(c.Context(), http.MethodPost, "/clusters", f.body, &made); err != nil {
				return err
			}
			return printCluster(c, m, &made, f.format)
		},
	}
	f.flags(c)
	return c
}

func clusterUpdateCommand(m *managerClient) *cobra.Command {
	f := &clusterFlags{}
	var name string
	c := &cobra.Command{
		Use: "update CLUSTER", Short: "Change what the flags name, and leave the rest", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(f.format); err != nil {
				return err
			}
			was, err := findCluster(c.Context(), m, args[0])
			if err != nil {
				return err
			}
			body := clusterBody{was.Name, was.Description, was.Scopes, was.Default, was.JobsPerMinute}
			for flag, take := range map[string]func(){
				"name":            func() { body.Name = name },
				"description":     func() { body.Description = f.body.Description },
				"cidr":            func() { body.Scopes.CIDRs = f.body.Scopes.CIDRs },
				"hostname":        func() { body.Scopes.Hostnames = f.body.Scopes.Hostnames },
				"idc":             func() { body.Scopes.IDCs = f.body.Scopes.IDCs },
				"location":        func() { body.Scopes.Location = f.body.Scopes.Location },
				"default":         func() { body.Default = f.body.Default },
				"jobs-per-minute": func() { body.JobsPerMinute = f.body.JobsPerMinute },
			} {
				if c.Flags().Changed(flag) {
					take()
				}
			}
			var now model.Cluster
			if err := m.ask(c.Context(), http.MethodPut, fmt.Sprintf("/clusters/%d", was.ID), body, &now); err != nil {
				return err
			}
			return printCluster(c, m, &now, f.format)
		},
	}
	f.flags(c)
	c.Flags().StringVar(&name, "name", "", "its new name")
	return c
}

func clusterDeleteCommand(m *managerClient) *cobra.Command {
	return &cobra.Command{
		Use: "delete CLUSTER", Short: "Delete a cluster that has no members", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			one, err := findCluster(c.Context(), m, args[0])
			if err != nil {
				return err
			}
			return m.ask(c.Context(), http.MethodDelete, fmt.Sprintf("/clusters/%d", one.ID), nil, nil)
		},
	}
}

// findCluster returns the cluster of a name, or else of a number.
func findCluster(ctx context.Context, m *managerClient, named string) (*model.Cluster, error) {
	found, err := listAll[model.Cluster](ctx, m, "/clusters", url.Values{"search": {named}})
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		if one.Name == named {
			return &one, nil
		}
	}
	if id, err := strconv.ParseInt(named, 10, 64); err == nil && id > 0 {
		var one model.Cluster
		return &one, m.ask(ctx, http.MethodGet, fmt.Sprintf("/clusters/%d", id), nil, &one)
	}
	return nil, &failure{process.ExitNotFound, fmt.Errorf("no cluster %q (see darter cluster list)", named)}
}

// memberPaths are the roles of members and the paths of their lists.
var memberPaths = []struct {
	role model.Role
	path string
}{{model.RoleScheduler, "/schedulers"}, {model.RoleSeed, "/seeds"}, {model.RoleNode, "/nodes"}}

// printCluster shows a cluster with the numbers of its members.
func printCluster(c *cobra.Command, m *managerClient, one *model.Cluster, format string) error {
	w := c.OutOrStdout()
	if format == "json" {
		return encode(w, one)
	}
	t := newTable("")
	t.row("name", one.Name)
	t.row("id", strconv.FormatInt(one.ID, 10))
	t.row("description", or(one.Description, "-"))
	t.row("default", yes(one.Default))
	t.row("jobs per minute", bound(one.JobsPerMinute))
	t.row("scopes", scopesOf(one.Scopes))
	for _, kind := range memberPaths {
		count := func(state string) (string, error) {
			var page struct{ Total int64 }
			err := m.ask(c.Context(), http.MethodGet, fmt.Sprintf("%s?cluster_id=%d&per_page=1%s", kind.path, one.ID, state), nil, &page)
			return strconv.FormatInt(page.Total, 10), err
		}
		all, err := count("")
		if err != nil {
			return err
		}
		active, err := count("&state=active")
		if err != nil {
			return err
		}
		t.row(kind.path[1:], all+", "+active+" active")
	}
	t.print(w)
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// bound prints a limit, of which 0 is none.
func bound(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// scopesOf prints which nodes a cluster is for.
func scopesOf(s model.Scopes) string {
	parts := append([]string{}, s.CIDRs...)
	for _, h := range s.Hostnames {
		parts = append(parts, "/"+h+"/")
	}
	parts = append(parts, s.IDCs...)
	if s.Location != "" {
		parts = append(parts, s.Location)
	}
	return or(strings.Join(parts, " "), "-")
}
