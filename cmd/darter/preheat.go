package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/config"
)

// preheatArgs are a preheat's arguments, as the manager's REST takes them.
type preheatArgs struct {
	Image         string        `json:"image,omitempty"`
	Platforms     []string      `json:"platforms,omitempty"`
	Files         []preheatFile `json:"files,omitempty"`
	Scope         string        `json:"scope,omitempty"`
	IPs           []string      `json:"ips,omitempty"`
	Count         int           `json:"count,omitempty"`
	Percentage    int           `json:"percentage,omitempty"`
	PinSeconds    int64         `json:"pin_seconds,omitempty"`
	DryRun        bool          `json:"dry_run,omitempty"`
	Authorization string        `json:"authorization,omitempty"`
}

type preheatFile struct {
	URL string `json:"url"`
}

// scopes are the words of --scope, and the manager's.
var scopes = map[string]string{"one-seed": "single_seed_peer", "seeds": "all_seed_peers", "all": "all_peers"}

// preheater makes a preheat job.
type preheater struct {
	manager managerClient
	args    preheatArgs
	scope   string
	pin     string
	creds   string // user, the password is read from standard input
	cluster int64
	wait    bool
	format  string
}

func preheatCommand() *cobra.Command {
	p := &preheater{}
	c := &cobra.Command{
		Use:   "preheat IMAGE | preheat URL...",
		Short: "Bring an image or files to nodes before they are asked for",
		Long: `preheat has the manager make a job: a seed reads what the image takes, and the chosen
nodes bring it into their stores. With --wait it ends when the job does, and fails where
anything of it failed.

A private image needs --user; the password is read from standard input. It goes to the
nodes by mutual TLS and is kept sealed in the manager's database for as long as the job.

The personal access token that you show the manager is taken from ` + tokenVariable + `.`,
		Example: `  darter preheat docker.io/library/nginx:1.27 --scope all --platform linux/amd64 --wait
  darter preheat registry.example/app:2 --scope seeds --pin 24h --user ci < password
  darter preheat https://files.example.com/model.bin --count 100
  darter preheat registry.example/app:2 --scope all --dry-run --wait`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := p.read(args, c.InOrStdin()); err != nil {
				return fmt.Errorf("%w (see darter preheat --help): %w", err, errdefs.ErrInvalidArgument)
			}
			return p.run(c)
		},
	}
	p.manager.flags(c)
	f := c.Flags()
	f.StringVar(&p.scope, "scope", "", "one-seed (the default), seeds, or all nodes and seeds")
	f.StringSliceVar(&p.args.Platforms, "platform", nil, "os/arch; all that the image has if not given; may be repeated")
	f.StringSliceVar(&p.args.IPs, "ip", nil, "only the node with this address; may be repeated")
	f.IntVar(&p.args.Count, "count", 0, "so many of the nodes of the scope")
	f.IntVar(&p.args.Percentage, "percentage", 0, "so many percent of the nodes of the scope")
	f.StringVar(&p.pin, "pin", "", "keep it on the nodes for this time, such as 24h or 7d")
	f.BoolVar(&p.args.DryRun, "dry-run", false, "say what would be moved, and move nothing")
	f.StringVar(&p.creds, "user", "", "user of the registry")
	f.Int64Var(&p.cluster, "cluster", 1, "number of the cluster")
	f.BoolVar(&p.wait, "wait", false, "wait for the end of the job")
	formatFlag(c, &p.format)
	return c
}

// formatFlag adds --format.
func formatFlag(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", "table", "table, or json for programs")
}

func checkFormat(format string) error {
	if format != "table" && format != "json" {
		return fmt.Errorf("--format %s: want table or json: %w", format, errdefs.ErrInvalidArgument)
	}
	return nil
}

// read turns arguments into the job's.
func (p *preheater) read(args []string, in io.Reader) error {
	if err := checkFormat(p.format); err != nil {
		return err
	}
	for _, a := range args {
		isFile := (strings.HasPrefix(a, "http://") || strings.HasPrefix(a, "https://")) && !strings.Contains(a, "/manifests/")
		switch {
		case isFile:
			p.args.Files = append(p.args.Files, preheatFile{a})
		case len(args) > 1:
			return errors.New("one image, or one or more URLs")
		default:
			p.args.Image = a
		}
	}
	if p.scope != "" {
		if p.args.Scope = scopes[p.scope]; p.args.Scope == "" {
			return fmt.Errorf("--scope %s: want one-seed, seeds or all", p.scope)
		}
	}
	if p.pin != "" {
		d, err := config.ParseDuration(p.pin)
		if err != nil {
			return fmt.Errorf("--pin: %w", err)
		}
		p.args.PinSeconds = int64(d.Duration() / time.Second)
	}
	if p.creds == "" {
		return nil
	}
	password, err := io.ReadAll(io.LimitReader(in, 8<<10))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	pair := p.creds + ":" + strings.TrimRight(string(password), "\r\n")
	p.args.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	return nil
}

func (p *preheater) run(c *cobra.Command) error {
	var j job
	body := map[string]any{"kind": "preheat", "cluster_id": p.cluster, "args": p.args}
	if err := p.manager.ask(c.Context(), "POST", "/jobs", body, &j); err != nil {
		return err
	}
	if p.wait {
		var err error
		if j, err = awaitJob(c.Context(), &p.manager, j.ID, c.ErrOrStderr()); err != nil {
			return err
		}
	}
	if err := printJob(c.Context(), c.OutOrStdout(), &p.manager, j, p.format); err != nil {
		return err
	}
	return j.failure()
}

// encode writes JSON for programs.
func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
