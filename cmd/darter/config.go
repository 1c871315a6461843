package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/config"
)

// settings are a configuration's, as JSON: darter shows and sends what the manager knows,
// and has no list of its own.
type settings = map[string]any

// configuration is a version of what the manager sets for a cluster, or for all (0).
type configuration struct {
	Version   int64     `json:"version"`
	ClusterID int64     `json:"cluster_id"`
	Settings  settings  `json:"settings"`
	Author    string    `json:"author,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	Created   time.Time `json:"created_at,omitzero"`
}

func configCommand() *cobra.Command {
	m := &managerClient{}
	c := &cobra.Command{
		Use:   "config",
		Short: "Show and change the settings that nodes and schedulers take over while they run",
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("show, set, history or rollback? (see darter config --help): %w", errdefs.ErrInvalidArgument)
		},
	}
	m.flags(c)
	c.AddCommand(configShowCommand(m), configSetCommand(m), configHistoryCommand(m), configRollbackCommand(m))
	return c
}

// clusterFlag adds --cluster.
func clusterFlag(c *cobra.Command, named *string, doc string) {
	c.Flags().StringVar(named, "cluster", "", doc)
}

func configShowCommand(m *managerClient) *cobra.Command {
	var named, format string
	var version int64
	c := &cobra.Command{
		Use: "show", Short: "Show the settings of all clusters, or those that hold in one", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			var one configuration
			var err error
			switch {
			case version > 0:
				err = m.ask(c.Context(), http.MethodGet, fmt.Sprintf("/configurations/%d", version), nil, &one)
			case named != "":
				var id int64
				if id, err = clusterID(c.Context(), m, named); err == nil {
					err = m.ask(c.Context(), http.MethodGet, fmt.Sprintf("/clusters/%d/configuration", id), nil, &one)
				}
			default:
				one, err = newest(c.Context(), m, 0)
			}
			if err != nil {
				return err
			}
			return printConfiguration(c.OutOrStdout(), one, format)
		},
	}
	clusterFlag(c, &named, "what holds in this cluster: its own settings over those of all clusters")
	c.Flags().Int64Var(&version, "version", 0, "an earlier version (see history)")
	formatFlag(c, &format)
	return c
}

func configSetCommand(m *managerClient) *cobra.Command {
	var named, comment, file, format string
	c := &cobra.Command{
		Use: "set KEY=VALUE...", Short: "Change settings; they are in force at once",
		Long: `set changes the settings that are named and leaves the others. KEY= takes a setting
away, so that what all clusters have counts, or else each member's own file. A VALUE is
a number, a size or rate with a unit (100MiB, 200Mbit/s), JSON, or for lists texts with commas
between. It fails where somebody else changed the settings meanwhile.`,
		Example: `  darter config set limits.upload=200Mbit/s
  darter config set --cluster berlin limits.background=10MiB/s --comment "the backup runs"
  darter config set --cluster berlin limits.background=
  darter config set --file settings.json`,
		Args: usage(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if (file == "") == (len(args) == 0) {
				return fmt.Errorf("want KEY=VALUE, or --file with all settings: %w", errdefs.ErrInvalidArgument)
			}
			id, err := clusterID(c.Context(), m, named)
			if err != nil {
				return err
			}
			was, err := newest(c.Context(), m, id)
			if err != nil {
				return err
			}
			if file != "" {
				was.Settings, err = readSettings(c.InOrStdin(), file)
			} else {
				err = change(was.Settings, args)
			}
			if err != nil {
				return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
			}
			var now configuration
			body := map[string]any{"cluster_id": id, "settings": was.Settings, "comment": comment, "based_on": was.Version}
			if err := m.ask(c.Context(), http.MethodPost, "/configurations", body, &now); err != nil {
				return err
			}
			return printConfiguration(c.OutOrStdout(), now, format)
		},
	}
	clusterFlag(c, &named, "only for this cluster, by name or number")
	c.Flags().StringVar(&comment, "comment", "", "why, for the history")
	c.Flags().StringVar(&file, "file", "", "write all settings anew, from a JSON file; - is standard input")
	formatFlag(c, &format)
	return c
}

func configHistoryCommand(m *managerClient) *cobra.Command {
	var named, format string
	c := &cobra.Command{
		Use: "history", Short: "List the versions, the newest first: who changed what and when", Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			q := url.Values{}
			if named != "" {
				id, err := clusterID(c.Context(), m, named)
				if err != nil {
					return err
				}
				q.Set("cluster_id", strconv.FormatInt(id, 10))
			}
			all, err := listAll[configuration](c.Context(), m, "/configurations", q)
			if err != nil {
				return err
			}
			if format == "json" {
				return encode(c.OutOrStdout(), all)
			}
			t := newTable(">>", "VERSION", "CLUSTER", "WHEN", "WHO", "SETTINGS", "COMMENT")
			for _, one := range all {
				cluster := "all"
				if one.ClusterID != 0 {
					cluster = strconv.FormatInt(one.ClusterID, 10)
				}
				t.row(strconv.FormatInt(one.Version, 10), cluster, one.Created.Local().Format(time.DateTime), one.Author,
					clip(strings.Join(lines(one.Settings, "="), " "), 80), one.Comment)
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	clusterFlag(c, &named, "only those of this cluster, by name or number")
	formatFlag(c, &format)
	return c
}

func configRollbackCommand(m *managerClient) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "rollback VERSION", Short: "Make the settings of an earlier version those of a new one", Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			version, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || version < 1 {
				return fmt.Errorf("version %q, want a number (see darter config history): %w", args[0], errdefs.ErrInvalidArgument)
			}
			var now configuration
			if err := m.ask(c.Context(), http.MethodPost, fmt.Sprintf("/configurations/%d/rollback", version), nil, &now); err != nil {
				return err
			}
			return printConfiguration(c.OutOrStdout(), now, format)
		},
	}
	formatFlag(c, &format)
	return c
}

// clusterID returns a cluster's number, 0 where none is named.
func clusterID(ctx context.Context, m *managerClient, named string) (int64, error) {
	if named == "" {
		return 0, nil
	}
	one, err := findCluster(ctx, m, named)
	if err != nil {
		return 0, err
	}
	return one.ID, nil
}

// newest returns a cluster's own newest configuration, of version 0 where there is none.
func newest(ctx context.Context, m *managerClient, cluster int64) (configuration, error) {
	var page struct {
		Items []configuration `json:"items"`
	}
	err := m.ask(ctx, http.MethodGet, fmt.Sprintf("/configurations?cluster_id=%d&per_page=1", cluster), nil, &page)
	if err != nil || len(page.Items) == 0 {
		return configuration{ClusterID: cluster, Settings: settings{}}, err
	}
	return page.Items[0], nil
}

// maxSettings bounds a file of settings, in bytes.
const maxSettings = 1 << 20

func readSettings(in io.Reader, path string) (settings, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--file: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSettings))
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	var out settings
	if err := decodeNumbers(text, &out); err != nil || out == nil {
		return nil, fmt.Errorf("--file %s: no JSON object: %w", path, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return out, nil
}

// decodeNumbers reads JSON and keeps its numbers as they are written.
func decodeNumbers(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// change writes KEY=VALUE into settings.
func change(all settings, args []string) error {
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q: want KEY=VALUE", arg)
		}
		at := all
		path := strings.Split(key, ".")
		for _, part := range path[:len(path)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = settings{}
				at[part] = next
			}
			at = next
		}
		last := path[len(path)-1]
		if text == "" {
			delete(at, last)
			continue
		}
		at[last] = value(text)
	}
	return nil
}

// value reads a setting's text.
func value(text string) any {
	var out any
	if decodeNumbers([]byte(text), &out) == nil && json.Valid([]byte(text)) {
		return out
	}
	if n, err := config.ParseBytes(text); err == nil {
		return int64(n)
	}
	if r, err := config.ParseRate(text); err == nil {
		return r.BytesPerSecond()
	}
	list := strings.Split(text, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// lines are settings as "key", a separator and "value", sorted.
func lines(all settings, separator string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if inner, ok := all[key].(map[string]any); ok {
			for _, line := range lines(inner, separator) {
				out = append(out, key+"."+line)
			}
			continue
		}
		text, _ := json.Marshal(all[key]) // it was JSON
		out = append(out, key+separator+string(text))
	}
	return out
}

func printConfiguration(w io.Writer, one configuration, format string) error {
	if format == "json" {
		return encode(w, one)
	}
	if one.Version == 0 {
		_, err := fmt.Fprintln(w, "nothing is set: every member's own file counts")
		return err
	}
	what := "all clusters"
	if one.ClusterID != 0 {
		what = fmt.Sprintf("cluster %d", one.ClusterID)
	}
	fmt.Fprintf(w, "version %d of %s\n", one.Version, what)
	t := newTable("")
	for _, line := range lines(one.Settings, "=") {
		key, text, _ := strings.Cut(line, "=")
		t.row(key, text)
	}
	t.print(w)
	return nil
}
