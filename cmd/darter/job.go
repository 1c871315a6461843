package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
)

// job is a job of the manager's REST, as far as it is shown.
type job struct {
	ID        int64           `json:"id"`
	Kind      string          `json:"kind"`
	ClusterID int64           `json:"cluster_id"`
	State     string          `json:"state"`
	Error     string          `json:"error,omitempty"`
	Actor     string          `json:"actor,omitempty"`
	Args      json.RawMessage `json:"args,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Created   time.Time       `json:"created_at"`
	Finished  time.Time       `json:"finished_at,omitzero"`
	Items     []jobItem       `json:"items,omitempty"`
}

// jobItem is one content on one node.
type jobItem struct {
	Member   string `json:"member"`
	Content  string `json:"content"`
	State    string `json:"state"`
	Error    string `json:"error,omitempty"`
	Pieces   int64  `json:"pieces"`
	Verified int64  `json:"verified"`
	Bytes    int64  `json:"bytes"`
}

func (j job) ended() bool {
	return j.State == "succeeded" || j.State == "failed" || j.State == "cancelled"
}

// failure is the error of a job that ended otherwise than well.
func (j job) failure() error {
	if !j.ended() || j.State == "succeeded" {
		return nil
	}
	return &failure{process.ExitFailure, fmt.Errorf("job %d: %s: %s", j.ID, j.State, printable(j.Error))}
}

func jobCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "job",
		Short: "Show and cancel the manager's jobs",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("list, show, cancel or retry? (see darter job --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(jobListCommand(m), jobShowCommand(m), jobDoCommand(m, "cancel", "Stop a job"), jobDoCommand(m, "retry", "Do a job again that failed or was cancelled"))
	return c
}

func jobListCommand(m *managerClient) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List jobs, the newest first", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var page struct {
				Items []job `json:"items"`
			}
			if err := checkFormat(format); err != nil {
				return err
			}
			if err := m.ask(c.Context(), "GET", "/jobs", nil, &page); err != nil {
				return err
			}
			if format == "json" {
				return encode(c.OutOrStdout(), page.Items)
			}
			t := newTable("><>", "JOB", "KIND", "CLUSTER", "STATE", "CREATED", "WHAT", "ERROR")
			for _, j := range page.Items {
				t.row(strconv.FormatInt(j.ID, 10), j.Kind, strconv.FormatInt(j.ClusterID, 10), j.State,
					j.Created.Local().Format(time.DateTime), j.what(), clip(j.Error, 60))
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	formatFlag(c, &format)
	return c
}

func jobShowCommand(m *managerClient) *cobra.Command {
	var format string
	var wait bool
	c := &cobra.Command{
		Use: "show JOB", Short: "Show a job, with what became of each content on each node", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := jobID(args[0])
			if err == nil {
				err = checkFormat(format)
			}
			if err != nil {
				return err
			}
			var j job
			if wait {
				j, err = awaitJob(c.Context(), m, id, c.ErrOrStderr())
			} else {
				err = m.ask(c.Context(), "GET", fmt.Sprintf("/jobs/%d", id), nil, &j)
			}
			if err != nil {
				return err
			}
			if err := printJob(c.Context(), c.OutOrStdout(), m, j, format); err != nil || !wait {
				return err
			}
			return j.failure()
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait for its end, and fail where it failed")
	formatFlag(c, &format)
	return c
}

func jobDoCommand(m *managerClient, what, short string) *cobra.Command {
	return &cobra.Command{
		Use: what + " JOB", Short: short, Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := jobID(args[0])
			if err != nil {
				return err
			}
			return m.ask(c.Context(), "POST", fmt.Sprintf("/jobs/%d/%s", id, what), nil, nil)
		},
	}
}

func jobID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 {
		return 0, fmt.Errorf("job %q, want its number: %w", s, errdefs.ErrInvalidArgument)
	}
	return id, nil
}

// awaitJob waits for a job's end and says on notes what changes.
func awaitJob(ctx context.Context, m *managerClient, id int64, notes io.Writer) (j job, err error) {
	was := ""
	for {
		if err := m.ask(ctx, "GET", fmt.Sprintf("/jobs/%d", id), nil, &j); err != nil {
			return j, err
		}
		if j.State != was {
			fmt.Fprintf(notes, "job %d is %s\n", j.ID, printable(j.State))
			was = j.State
		}
		if j.ended() {
			return j, nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return j, ctx.Err()
		}
	}
}

// itemsShown bounds what is read of a job's items.
const itemsShown = 1000

// printJob shows a job with its items.
func printJob(ctx context.Context, w io.Writer, m *managerClient, j job, format string) error {
	var page struct {
		Items []jobItem `json:"items"`
		Total int       `json:"total"`
	}
	if err := m.ask(ctx, "GET", fmt.Sprintf("/jobs/%d/items?per_page=%d", j.ID, itemsShown), nil, &page); err != nil {
		return err
	}
	if j.Items = page.Items; format == "json" {
		return encode(w, j)
	}
	fmt.Fprintf(w, "job %d: %s %s: %s\n", j.ID, printable(j.Kind), printable(j.what()), printable(j.State))
	if j.Error != "" {
		fmt.Fprintln(w, printable(j.Error))
	}
	var r struct {
		Nodes    int   `json:"nodes"`
		Contents int   `json:"contents"`
		Bytes    int64 `json:"bytes"`
		Held     int64 `json:"bytes_held"`
		Move     int64 `json:"bytes_move"`
		Freed    int64 `json:"bytes_freed"`
		DryRun   bool  `json:"dry_run"`
	}
	if json.Unmarshal(j.Result, &r) == nil && r.Nodes > 0 {
		fmt.Fprintf(w, "%d contents (%d bytes) on %d nodes, %d bytes held", r.Contents, r.Bytes, r.Nodes, r.Held)
		if r.DryRun {
			fmt.Fprintf(w, ", %d bytes would be moved", r.Move)
		}
		if r.Freed > 0 {
			fmt.Fprintf(w, ", %d bytes freed", r.Freed)
		}
		fmt.Fprintln(w)
	}
	if len(page.Items) == 0 {
		return nil
	}
	t := newTable("<<<>>", "NODE", "CONTENT", "STATE", "VERIFIED", "BYTES", "ERROR")
	for _, i := range page.Items {
		t.row(i.Member, clip(i.Content, 71), i.State, fmt.Sprintf("%d/%d", i.Verified, i.Pieces), strconv.FormatInt(i.Bytes, 10), i.Error)
	}
	t.print(w)
	if page.Total > len(page.Items) {
		fmt.Fprintf(w, "and %d more\n", page.Total-len(page.Items))
	}
	return nil
}

// what is what a job is about.
func (j job) what() string {
	var a preheatArgs
	if json.Unmarshal(j.Args, &a) != nil {
		return ""
	}
	switch {
	case a.Image != "":
		return a.Image
	case len(a.Files) == 1:
		return a.Files[0].URL
	case len(a.Files) > 1:
		return fmt.Sprintf("%d files", len(a.Files))
	}
	return ""
}

// clip cuts a text for a table.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
