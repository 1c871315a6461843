package manager_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/integration/manager"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database/databasetest"
)

// patience matters only where something fails.
const patience = 2 * time.Minute

func contentOf(name string) string { return digest.FromString(name).String() }

// job is a job as REST shows it.
type job struct {
	ID      int64           `json:"id"`
	State   string          `json:"state"`
	Error   string          `json:"error"`
	Holder  string          `json:"holder"`
	Attempt int64           `json:"attempt"`
	Result  json.RawMessage `json:"result"`
}

// TestKilledManager has two managers on one Postgres do 20 jobs with credentials, and kills
// one with -9 while all of them run: the other ends them all, each once.
func TestKilledManager(t *testing.T) {
	const jobs, each = 20, 10
	dir := t.TempDir()
	ca, err := pki.CreateCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(filepath.Join(dir, "ca")); err != nil {
		t.Fatal(err)
	}
	db := databasetest.Postgres(t).Fresh(t)
	start := func(name string) *manager.Process {
		t.Helper()
		pair, err := ca.Issue(pki.Request{Role: pki.Manager, Name: name}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		files, err := pair.Write(filepath.Join(dir, "ca"))
		if err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(dir, name)
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		p, err := manager.Start(t.Context(), manager.Options{
			Program: program(t), Dir: own, Identity: files, Database: db,
			// Nothing is shared by hand but the CA.
			Extra: fmt.Sprintf("[join]\nca = %q\n[jobs]\nparallel = %d\nlease = \"5s\"\n", filepath.Join(dir, "ca"), each),
		})
		if p != nil {
			t.Cleanup(func() {
				if err := p.End(syscall.SIGKILL); err != nil {
					t.Error(err)
				}
				if text, err := os.ReadFile(p.LogPath); t.Failed() {
					t.Logf("%s: %v\n%s", name, err, text)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	victim, survivor := start("manager1"), start("manager2")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	rest, err := manager.SignIn(t.Context(), survivor.URL, transport)
	if err != nil {
		t.Fatal(err)
	}
	var cluster struct{ ID int64 }
	if err := rest.Ask(t.Context(), "POST", "/clusters", map[string]any{"name": "prod", "is_default": true}, &cluster); err != nil {
		t.Fatal(err)
	}
	gate, changed := make(chan struct{}), make(chan struct{}, 1)
	member := func(role pki.Role, name string) *fakeNode {
		return startNode(t, ca, survivor.Members, role, name, gate, changed)
	}
	member(pki.Scheduler, "sched1") // a cluster without one serves nobody
	nodes := []*fakeNode{member(pki.Seed, "seed1"), member(pki.Node, "node1"), member(pki.Node, "node2")}
	until(t, "all nodes are in the cluster", time.NewTicker(20*time.Millisecond).C, func() bool {
		active := 0
		for _, role := range []string{"seeds", "nodes"} {
			var page struct{ Total int }
			if err := rest.Ask(t.Context(), "GET", fmt.Sprintf("/%s?state=active&cluster_id=%d", role, cluster.ID), nil, &page); err != nil {
				t.Fatal(err)
			}
			active += page.Total
		}
		return active == len(nodes)
	})
	for i := range jobs {
		args := map[string]any{"image": fmt.Sprintf("registry.test/app:%d", i), "scope": "all_peers", "authorization": authorization}
		if err := rest.Ask(t.Context(), "POST", "/jobs", map[string]any{"kind": "preheat", "cluster_id": cluster.ID, "args": args}, nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "every node works at every job", changed, func() bool {
		return !slices.ContainsFunc(nodes, func(n *fakeNode) bool { return n.begun() != jobs })
	})
	before := list(t, rest)
	lost := map[int64]bool{}
	for _, j := range before {
		if j.State != "running" || j.Attempt != 1 {
			t.Errorf("before the kill: %+v", j)
		}
		lost[j.ID] = strings.HasPrefix(j.Holder, "manager1-")
	}
	if err := victim.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	until(t, "the killed manager's calls end", changed, func() bool {
		return !slices.ContainsFunc(nodes, func(n *fakeNode) bool { return n.begun() != jobs-each })
	})
	close(gate)
	until(t, "all jobs end", time.NewTicker(50*time.Millisecond).C, func() bool {
		return !slices.ContainsFunc(list(t, rest), func(j job) bool { return j.State == "running" || j.State == "waiting" })
	})
	took := time.Since(killed)

	for _, n := range nodes {
		n.mu.Lock() // their last calls may still be returning
		defer n.mu.Unlock()
	}
	moved := 0
	for _, j := range list(t, rest) {
		want := int64(1)
		if lost[j.ID] {
			want, moved = 2, moved+1
		}
		if j.State != "succeeded" || j.Attempt != want {
			t.Errorf("job %d: %s %q, attempt %d, want %d", j.ID, j.State, j.Error, j.Attempt, want)
		}
		for _, n := range nodes {
			if n.told[jobName(j.ID)] != int(want) {
				t.Errorf("%s was told %d times of job %d, want %d", n.name, n.told[jobName(j.ID)], j.ID, want)
			}
		}
	}
	if moved != each {
		t.Errorf("the killed manager held %d jobs, want %d", moved, each)
	}
	for _, n := range nodes {
		for content, times := range n.brought {
			if times != 1 {
				t.Errorf("%s brought %s %d times", n.name, content, times)
			}
		}
		if len(n.brought) != 2*jobs || len(n.twice) > 0 || len(n.wrong) > 0 {
			t.Errorf("%s brought %d contents; two fetches at once: %v; wrong credentials: %q", n.name, len(n.brought), n.twice, n.wrong)
		}
	}
	t.Logf("%d jobs of the killed manager were done by the other, %v after the kill", moved, took.Round(10*time.Millisecond))
}

// list returns all jobs.
func list(t *testing.T, rest *manager.Client) []job {
	t.Helper()
	var page struct{ Items []job }
	if err := rest.Ask(t.Context(), "GET", "/jobs?per_page=1000", nil, &page); err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// until waits for a condition, which is looked at again after each event.
func until[T any](t *testing.T, what string, events <-chan T, is func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	for !is() {
		select {
		case <-events:
		case <-ctx.Done():
			t.Fatalf("%s: not in %v", what, patience)
		}
	}
}
