package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/manager/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a worker; stop ends it as kill -9 does: it writes nothing more.
func start(t *testing.T, holder string, st Store, f *fleet, s *Sealer) (stop func()) {
	t.Helper()
	w, err := NewWorker(Default(), holder, st, f, f.dial, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func sealer(t *testing.T) *Sealer {
	t.Helper()
	s, err := NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestJobs does jobs of all kinds on fleets in all conditions.
func TestJobs(t *testing.T) {
	const app = `"image":"r.test/app:1"`
	for _, c := range []struct {
		name, kind, args string
		fleet            func(*fleet)
		state            model.JobState
		error            string // part of the job's
		items            []string
		check            func(t *testing.T, f *fleet, r Result)
	}{
		{name: "preheat one seed", kind: Preheat, args: `{` + app + `}`, state: model.Succeeded, check: func(t *testing.T, f *fleet, r Result) {
			if r.Totals.Nodes != 1 || r.Succeeded != 4 || !r.Nodes[0].Seed || r.Digest != sum(0) || r.Bytes != 10000 || r.Nodes[0].Peers != 4 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "all seeds", kind: Preheat, args: `{` + app + `,"scope":"all_seed_peers"}`, state: model.Succeeded, check: wantNodes(2)},
		{name: "all peers", kind: Preheat, args: `{` + app + `,"scope":"all_peers","at_once":2}`, state: model.Succeeded, check: wantNodes(6)},
		{name: "by address", kind: Preheat, args: `{` + app + `,"ips":["10.0.0.4","::ffff:10.0.0.5"]}`, state: model.Succeeded, check: wantNodes(2)},
		{name: "by an address that nobody has", kind: Preheat, args: `{` + app + `,"ips":["10.0.0.4","10.9.9.9"]}`, state: model.Failed, error: "no node of the cluster has the address 10.9.9.9"},
		{name: "by count", kind: Preheat, args: `{` + app + `,"count":4}`, state: model.Succeeded, check: wantNodes(4)},
		{name: "by percentage", kind: Preheat, args: `{` + app + `,"percentage":40}`, state: model.Succeeded, check: wantNodes(3)},
		{name: "files", kind: Preheat, args: `{"files":[{"url":"https://f.test/a"},{"url":"https://f.test/b"}],"scope":"all_seed_peers"}`, state: model.Succeeded, check: func(t *testing.T, f *fleet, r Result) {
			if r.Succeeded != 4 || !f.get("seed2").holds["https://f.test/b"] {
				t.Errorf("%+v", r)
			}
		}},
		{name: "a dry run", kind: Preheat, args: `{` + app + `,"scope":"all_peers","dry_run":true}`, state: model.Succeeded,
			fleet: func(f *fleet) { f.get("node1").holds[sum(3)] = true },
			check: func(t *testing.T, f *fleet, r Result) {
				if r.BytesMove != 6*10000-1000 || !r.DryRun || len(f.get("node2").holds) != 0 {
					t.Errorf("%+v", r)
				}
			}},
		{name: "no such tag", kind: Preheat, args: `{` + app + `}`, state: model.Failed, error: "manifest unknown",
			fleet: func(f *fleet) { f.answers(codes.NotFound, "manifest unknown") }},
		{name: "a wrong password", kind: Preheat, args: `{` + app + `,"authorization":"Basic d3Jvbmc="}`, state: model.Failed, error: "authentication required",
			fleet: func(f *fleet) { f.answers(codes.Unauthenticated, "authentication required") }},
		{name: "one node is down", kind: Preheat, args: `{` + app + `,"scope":"all_peers"}`, state: model.Failed, error: "4 of 24 items failed; node3:",
			fleet: func(f *fleet) { f.get("node3").dead = true },
			items: []string{"node3 " + sum(0) + ": failed: the node cannot be reached at x: connection refused"},
			check: func(t *testing.T, f *fleet, r Result) {
				if r.Nodes[0].Name != "node3" || r.Nodes[0].State != model.Failed || r.Succeeded != 20 {
					t.Errorf("%+v", r)
				}
			}},
		{name: "a node comes back", kind: Preheat, args: `{` + app + `,"scope":"all_peers"}`, state: model.Succeeded,
			fleet: func(f *fleet) { f.get("node3").deadFor = 2 }},
		{name: "the first seed is down", kind: Preheat, args: `{` + app + `,"ips":["10.0.0.3"]}`, state: model.Succeeded,
			fleet: func(f *fleet) { f.get("seed1").dead, f.get("seed2").deadFor = true, 0 }},
		{name: "nobody resolves", kind: Preheat, args: `{` + app + `,"ips":["10.0.0.3"]}`, state: model.Failed, error: "connection refused",
			fleet: func(f *fleet) {
				for _, n := range f.nodes {
					n.dead = true
				}
			}},
		{name: "a full disk", kind: Preheat, args: `{` + app + `,"scope":"all_seed_peers"}`, state: model.Failed, error: "1 of 8 items failed; seed2: 4000 bytes do not fit",
			fleet: func(f *fleet) {
				f.get("seed2").fails[sum(3)] = status.Error(codes.ResourceExhausted, "4000 bytes do not fit")
			},
			items: []string{"seed2 " + sum(3) + ": failed: 4000 bytes do not fit"}},
		{name: "a node that lies", kind: Preheat, args: `{"files":[{"url":"https://f.test/a"}],"scope":"all_seed_peers"}`, state: model.Failed, error: "holds 2 of 3 pieces",
			fleet: func(f *fleet) { f.get("seed1").lies = true }},
		{name: "a node that ends too early", kind: Preheat, args: `{` + app + `,"ips":["10.0.0.3"]}`, state: model.Failed, error: "cannot be reached",
			fleet: func(f *fleet) { f.get("node1").mute = true }},
		{name: "longer than its timeout", kind: Preheat, args: `{` + app + `,"scope":"all_seed_peers","timeout_seconds":60}`, state: model.Failed, error: "longer than its timeout",
			fleet: func(f *fleet) { f.get("seed1").slow = time.Hour }},
		{name: "delete", kind: Delete, args: `{` + app + `}`, state: model.Succeeded,
			fleet: func(f *fleet) { f.get("node1").holds[sum(1)] = true },
			check: func(t *testing.T, f *fleet, r Result) {
				if r.BytesFreed != 1000 || f.get("node1").holds[sum(1)] {
					t.Errorf("%+v", r)
				}
			}},
		{name: "delete what is in use", kind: Delete, args: `{` + app + `}`, state: model.Failed, error: "in use: mount",
			fleet: func(f *fleet) { f.get("node1").fails[sum(1)] = status.Error(codes.FailedPrecondition, "in use: mount") }},
		{name: "gc", kind: Collect, args: `{"unused_seconds":3600}`, state: model.Succeeded, check: func(t *testing.T, _ *fleet, r Result) {
			if r.BytesFreed != 6*500 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "sync", kind: Sync, args: `{}`, state: model.Succeeded, fleet: func(f *fleet) { f.get("node1").holds[sum(1)] = true }, check: wantNodes(6)},
		{name: "who has it", kind: Find, args: `{` + app + `}`, state: model.Succeeded,
			fleet: func(f *fleet) { f.get("node1").holds[sum(1)] = true },
			check: func(t *testing.T, _ *fleet, r Result) {
				for _, n := range r.Nodes {
					if want := map[string]int{"node1": 1}[n.Name]; n.Contents != want {
						t.Errorf("%+v", n)
					}
				}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, m, s := newFleet(2, 4), newMemory(), sealer(t)
				if c.fleet != nil {
					c.fleet(f)
				}
				id := m.add(t, s, c.kind, c.args)
				defer start(t, "m1", m, f, s)()
				j, r := m.await(t, id)
				if j.State != c.state || !strings.Contains(j.Error, c.error) || (j.Error == "") != (c.state == model.Succeeded) {
					t.Errorf("%s: %q, want %s: %q; %+v", j.State, j.Error, c.state, c.error, r)
				}
				for _, want := range c.items {
					if got := words(m.errorsOf(id)); !strings.Contains(got, want) {
						t.Errorf("items:\n%s\nwant %s", got, want)
					}
				}
				if c.check != nil {
					c.check(t, f, r)
				}
			})
		})
	}
}

func wantNodes(n int) func(*testing.T, *fleet, Result) {
	return func(t *testing.T, _ *fleet, r Result) {
		if r.Totals.Nodes != n || len(r.Nodes) != n || r.Failed != 0 {
			t.Errorf("%+v, want %d nodes", r, n)
		}
	}
}

// answers makes every node's registry answer so.
func (f *fleet) answers(code codes.Code, words string) {
	for _, n := range f.nodes {
		n.resolves = func(*nodev1.ResolveRequest) (*nodev1.ResolveResponse, error) { return nil, status.Error(code, words) }
	}
}

// TestTwoManagers kills one of two managers while 20 jobs run: all end right, none twice,
// and no node brings a content twice.
func TestTwoManagers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, m, s := newFleet(1, 3), newMemory(), sealer(t)
		for _, n := range f.nodes {
			n.slow = 2 * time.Second
		}
		for range 20 {
			m.add(t, s, Preheat, `{"image":"r.test/app:1","scope":"all_peers","authorization":"Basic eDp5"}`)
		}
		killed, stop := start(t, "m1", m, f, s), start(t, "m2", m, f, s)
		defer stop()
		time.Sleep(3 * time.Second)
		killed()
		left := 0
		for id := int64(1); id <= 20; id++ {
			if m.job(id).Holder == "m1" && !m.job(id).State.Final() {
				left++
			}
		}
		if left == 0 {
			t.Error("nothing was running when the manager was killed")
		}
		for id := int64(1); id <= 20; id++ {
			if j, r := m.await(t, id); j.State != model.Succeeded || m.ends[id] != 1 || r.Succeeded != 16 {
				t.Errorf("job %d: %s %q, ended %d times: %+v", id, j.State, j.Error, m.ends[id], r)
			}
		}
		for _, n := range f.nodes {
			for what, times := range n.moved {
				if times != 1 {
					t.Errorf("%s brought %s %d times", n.Name, what, times)
				}
			}
		}
	})
}

// TestCancel stops a job at its nodes, and leaves what is done.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, m, s := newFleet(1, 0), newMemory(), sealer(t)
		f.get("seed1").slow = time.Minute
		id := m.add(t, s, Preheat, `{"image":"r.test/app:1"}`)
		defer start(t, "m1", m, f, s)()
		time.Sleep(90 * time.Second)
		m.cancel(id)
		at := time.Now()
		j, r := m.await(t, id)
		if j.State != model.Cancelled || r.Succeeded != 1 || time.Since(at) > 10*time.Second {
			t.Errorf("after %v: %s %q %+v", time.Since(at), j.State, j.Error, r)
		}
	})
}

// TestDatabaseFails lets a manager that cannot renew its leases give up before they run out.
func TestDatabaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, m, s := newFleet(1, 0), newMemory(), sealer(t)
		f.get("seed1").slow = 20 * time.Second
		id := m.add(t, s, Preheat, `{"image":"r.test/app:1"}`)
		stop := start(t, "m1", m, f, s)
		time.Sleep(5 * time.Second)
		m.mu.Lock()
		m.down = true
		m.mu.Unlock()
		time.Sleep(14 * time.Second)
		if f.get("seed1").moved[sum(0)] != 0 {
			t.Error("the job went on though its lease was not renewed")
		}
		stop()
		m.mu.Lock()
		m.down = false
		m.mu.Unlock()
		defer start(t, "m2", m, f, s)()
		if j, _ := m.await(t, id); j.State != model.Succeeded || j.Attempt < 2 || m.ends[id] != 1 {
			t.Errorf("%+v", j)
		}
	})
}

// TestSealer keeps credentials out of what is stored and shown.
func TestSealer(t *testing.T) {
	s := sealer(t)
	raw, err := s.Prepare(Preheat, json.RawMessage(`{"image":"r.test/app:1","authorization":"Basic c2VjcmV0"}`))
	if err != nil || strings.Contains(string(raw), "c2VjcmV0") {
		t.Fatalf("%s, %v", raw, err)
	}
	if a, err := s.open(Preheat, raw); err != nil || a.Authorization != "Basic c2VjcmV0" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := s.Prepare(Preheat, raw); !errdefs.IsInvalidArgument(err) {
		t.Errorf("another job's sealed credential is taken: %v", err)
	}
	moved := strings.Replace(string(raw), "r.test", "evil.test", 1)
	if _, err := s.open(Preheat, json.RawMessage(moved)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("opened for another image: %v", err)
	}
	other, _ := NewSealer(nil)
	if _, err := other.open(Preheat, raw); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("opened with another key: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ kind, args, want string }{
		{Preheat, `{}`, "image"},
		{Preheat, `{"image":"a","files":[{"url":"https://x/y"}]}`, "image"},
		{Preheat, `{"image":"A B"}`, "image"},
		{Preheat, `{"image":"a","nonsense":1}`, "nonsense"},
		{Preheat, `{"files":[{"url":"file:///etc/passwd"}]}`, "files[0].url"},
		{Preheat, `{"files":[{"url":"https://u:p@x/y"}]}`, "files[0].url"},
		{Preheat, `{"files":[{"url":"https://x/y","digest":"md5:12"}]}`, "files[0].digest"},
		{Preheat, `{"image":"a","scope":"everybody"}`, "scope"},
		{Preheat, `{"image":"a","ips":["10.0.0"]}`, "ips[0]"},
		{Preheat, `{"image":"a","count":1,"percentage":1}`, "percentage"},
		{Preheat, `{"image":"a","percentage":101}`, "percentage"},
		{Preheat, `{"image":"a","pin_seconds":-1}`, "pin_seconds"},
		{Preheat, `{"image":"a","timeout_seconds":1000000}`, "timeout_seconds"},
		{Preheat, `{"image":"a","platforms":["linux"]}`, "platforms[0]"},
		{Preheat, `{"image":"a","authorization":"x\r\nEvil: y"}`, "authorization"},
		{Sync, `{"image":"a"}`, "image"},
		{"nonsense", `{}`, "kind"},
		{Preheat, `[]`, "args"},
	} {
		if _, err := Parse(c.kind, json.RawMessage(c.args)); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.kind, c.args, err, c.want)
		}
	}
}

// TestLoadKey makes a key once, and refuses a file that is none.
func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "manager", "jobs.key")
	key, err := LoadKey(path)
	if err != nil || len(key) != 32 {
		t.Fatal(len(key), err)
	}
	if again, err := LoadKey(path); err != nil || !bytes.Equal(again, key) {
		t.Errorf("another key: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, key[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil {
		t.Error("a short key is taken")
	}
}

// TestCounts counts under Dragonfly's names.
func TestCounts(t *testing.T) {
	r := prometheus.NewRegistry()
	c, err := NewCounts(r)
	if err != nil {
		t.Fatal(err)
	}
	c.Made(Preheat, nil)
	c.Made(Preheat, errors.New("no such cluster"))
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range all {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if len(got) != 2 || got["dragonfly_manager_create_job_total"] != 2 || got["dragonfly_manager_create_job_success_total"] != 1 {
		t.Errorf("%v", got)
	}
}
