package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/manager"
)

// preheated is the image that the manager brings to all nodes before one pulls it.
var preheated = image.Recipe{Layers: 3, Bytes: 24 << 20, Compression: image.Gzip}

// preheatRepository is its name.
const preheatRepository = "demo/preheated:1"

// manage makes a cluster in the manager, which its scheduler, seed and nodes are then told of.
func manage(ctx context.Context, rest *manager.Client) (cluster int64, err error) {
	var made struct{ ID int64 }
	err = rest.Ask(ctx, http.MethodPost, "/clusters", map[string]any{"name": "demo", "is_default": true}, &made)
	return made.ID, err
}

// registered waits until the manager has all seeds and nodes in the cluster, and shows them.
func registered(ctx context.Context, rest *manager.Client, cluster int64, want int, out io.Writer) error {
	ctx, stop := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("the manager does not know %d seeds and nodes", want))
	defer stop()
	for {
		var lines []string
		for _, role := range []string{"seeds", "nodes"} {
			var page struct {
				Items []struct{ Name, IP, State string }
			}
			if err := rest.Ask(ctx, http.MethodGet, fmt.Sprintf("/%s?state=active&cluster_id=%d", role, cluster), nil, &page); err != nil {
				return err
			}
			for _, m := range page.Items {
				lines = append(lines, fmt.Sprintf("  %-6s %-11s %s", m.Name, m.IP, m.State))
			}
		}
		if len(lines) == want {
			for _, line := range lines {
				fmt.Fprintln(out, line)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// preheat has the manager bring an image to the seed and all nodes, shows what became of
// it on each, and pulls it on the last node.
func preheat(ctx context.Context, system *lab.System, out io.Writer) (*PreheatReport, error) {
	rest, transport, err := system.Manager.SignIn(ctx)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	fmt.Fprintln(out, "\nmanager: who is registered")
	cluster, err := manage(ctx, rest)
	if err != nil {
		return nil, err
	}
	if err := registered(ctx, rest, cluster, 1+len(system.Nodes), out); err != nil {
		return nil, err
	}
	image, err := system.Registry.BuildAndPush(ctx, preheated, preheatRepository)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "manager: darter preheat %s --scope all (%s MiB)\n", image.Ref, mebibytes(image.Bytes))
	start := time.Now()
	text, err := system.Manager.Darter(ctx, rest.Token, "", "preheat", image.Ref, "--scope", "all", "--cluster", fmt.Sprint(cluster), "--wait", "--format", "json")
	if err != nil {
		return nil, err
	}
	r := &PreheatReport{ImageBytes: image.Bytes, Seconds: time.Since(start).Seconds()}
	var job struct {
		Result struct {
			Nodes []PreheatedNode `json:"nodes_detail"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return nil, fmt.Errorf("what darter preheat says: %w", err)
	}
	r.Nodes = job.Result.Nodes
	for _, n := range r.Nodes {
		fmt.Fprintf(out, "  %-6s %s: %d contents, %s MiB\n", n.Name, n.State, n.Contents, mebibytes(n.Bytes))
	}
	before, err := sent(system)
	if err != nil {
		return nil, err
	}
	node := system.Nodes[len(system.Nodes)-1]
	start = time.Now()
	if err := node.Pull(ctx, lab.Ctr, image.Ref); err != nil {
		return nil, err
	}
	r.PullSeconds = time.Since(start).Seconds()
	after, err := sent(system)
	if err != nil {
		return nil, err
	}
	r.OriginBytes = after.registry - before.registry
	fmt.Fprintf(out, "%s pulls it: %.2f s, the registry sent %s MiB meanwhile\n",
		node.Containerd.Host.Name, r.PullSeconds, mebibytes(r.OriginBytes))
	return r, nil
}
