package manager_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/manager"
)

// TestPreheat has real processes preheat a private image of seven layers and two platforms
// to three nodes with a real containerd: first everything that cannot work, then the image,
// which every node pulls by its tag while the registry is gone, and at last the other jobs.
func TestPreheat(t *testing.T) {
	s := newSite(t)
	image := s.push("private/app:1", 7, 256<<10)
	password := s.registry.Password
	all := []string{"--scope", "all"}
	for _, f := range []struct {
		name, password, image string
		words                 []string
	}{
		{"no such tag", password, s.registry.Addr + "/private/app:none", []string{"404"}},
		{"wrong password", "guess", image, []string{"401"}},
		{"no such registry", password, s.seed.Host.HostPort(5000) + "/app:1", []string{"refused"}},
	} {
		if j := s.preheat(f.password, append(all, f.image)...); j.State != "failed" || !containsAll(j.words(), f.words) {
			t.Errorf("%s: %s: %s", f.name, j.State, j.words())
		} else {
			t.Logf("%s: %s", f.name, j.Error)
		}
	}

	dry := s.preheat(password, append(all, "--dry-run", image)...)
	if dry.State != "succeeded" || dry.Result.Move < 3*dry.Result.Bytes {
		t.Errorf("dry run: %s, would move %d of 4 times %d bytes", dry.State, dry.Result.Move, dry.Result.Bytes)
	}
	j := s.preheat(password, append(all, "--pin", "1h", image)...)
	if j.State != "succeeded" || j.Result.Contents != 3+2+14 || j.Result.OK != 4*j.Result.Contents || len(j.Items) != j.Result.OK {
		t.Fatalf("preheat: %s: %+v\n%s", j.State, j.Result, j.words())
	}
	for _, i := range j.Items {
		if i.Pieces == 0 || i.Verified != i.Pieces {
			t.Errorf("%+v", i)
		}
	}

	// The registry is gone; who may read the image pulls it by its tag, and nobody else.
	s.registry.Kill()
	for _, n := range s.nodes {
		if err := n.Pull(t.Context(), lab.Crictl, image); err == nil {
			t.Errorf("%s: a reader without credentials is served", n.Containerd.Host.Name)
		}
		if err := n.Pull(t.Context(), lab.Crictl, image, "--creds", s.registry.User+":guess"); err == nil {
			t.Errorf("%s: a reader with a wrong password is served", n.Containerd.Host.Name)
		}
		begun := time.Now()
		if err := n.Pull(t.Context(), lab.Crictl, image, "--creds", s.registry.User+":"+password); err != nil {
			t.Errorf("%s: %v", n.Containerd.Host.Name, err)
		}
		t.Logf("%s pulled it in %v without the registry", n.Containerd.Host.Name, time.Since(begun).Round(time.Millisecond))
	}
	if err := s.registry.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("others", func(t *testing.T) { s.others(t, image) })
	if os.Getenv("DARTER_STRESS") == "" {
		return // what follows takes minutes on a busy machine
	}
	t.Run("cancelled", func(t *testing.T) { s.cancelled(t, image) })
	t.Run("broken", func(t *testing.T) { s.broken(t, password) })
}

// others does every other kind of job once.
func (s *site) others(t *testing.T, image string) {
	creds := "Basic ZGFydGVyOnN3b3JkZmlzaA=="
	args := map[string]any{"image": image, "authorization": creds}
	if j := s.end(s.make("distribution", args)); j.State != "succeeded" || j.Result.Held != 4*j.Result.Bytes {
		t.Errorf("who has it: %s, %+v\n%s", j.State, j.Result, j.words())
	}
	if j := s.end(s.make("sync", map[string]any{})); j.State != "succeeded" || len(j.Items) != 4 || j.Result.Held == 0 {
		t.Errorf("sync: %s, %+v", j.State, j.Result)
	}
	if j := s.end(s.make("gc", map[string]any{})); j.State != "succeeded" {
		t.Errorf("gc: %s %s", j.State, j.words())
	}
	if j := s.end(s.make("distribution", args)); j.Result.Held != 4*j.Result.Bytes {
		t.Errorf("gc took what is pinned: %+v", j.Result)
	}
	if j := s.end(s.make("delete", args)); j.State != "succeeded" || j.Result.Freed < 3*j.Result.Bytes {
		t.Errorf("delete: %s, %+v\n%s", j.State, j.Result, j.words())
	}
	if j := s.end(s.make("distribution", args)); j.State != "succeeded" || j.Result.Held > j.Result.Bytes/10 {
		t.Errorf("after the delete: %s, %+v", j.State, j.Result)
	}

	s.overdue(t)
}

// overdue makes one job more than a cluster may have in a minute.
func (s *site) overdue(t *testing.T) {
	path := fmt.Sprintf("/clusters/%d", s.cluster)
	limit := func(n int) {
		if err := s.rest.Ask(t.Context(), "PUT", path, map[string]any{"name": "prod", "is_default": true, "jobs_per_minute": n}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	var refused *manager.Refused
	err := s.rest.Ask(t.Context(), "POST", "/jobs", map[string]any{"kind": "sync", "cluster_id": s.cluster, "args": map[string]any{}}, nil)
	if !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests {
		t.Errorf("one job too many: %v", err)
	}
	limit(0)
}

// cancelled cancels a job while the registry hardly sends, and retries it after that.
func (s *site) cancelled(t *testing.T, image string) {
	creds := "Basic ZGFydGVyOnN3b3JkZmlzaA=="
	if err := s.registry.Host.Shape(t.Context(), lab.Both(500*lab.Kbit)); err != nil {
		t.Fatal(err)
	}
	id := s.make("preheat", map[string]any{"image": image, "authorization": creds, "scope": "all_peers"})
	until(t, "nodes are told of the job", time.NewTicker(50*time.Millisecond).C, func() bool {
		var page struct{ Total int }
		if err := s.rest.Ask(t.Context(), "GET", fmt.Sprintf("/jobs/%d/items", id), nil, &page); err != nil {
			t.Fatal(err)
		}
		return page.Total > 0
	})
	if _, err := s.manager.Darter(t.Context(), s.rest.Token, "", "job", "cancel", fmt.Sprint(id)); err != nil {
		t.Error(err)
	}
	if j := s.end(id); j.State != "cancelled" {
		t.Errorf("cancel: %s %s", j.State, j.words())
	}
	if err := s.registry.Host.Shape(t.Context(), lab.Link{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.manager.Darter(t.Context(), s.rest.Token, "", "job", "retry", fmt.Sprint(id)); err != nil {
		t.Error(err)
	}
	if j := s.end(id); j.State != "succeeded" || j.Result.Held != 4*j.Result.Bytes {
		t.Errorf("retry: %s %+v\n%s", j.State, j.Result, j.words())
	}
}

// broken preheats an image that does not fit on node2 while node3 is down: the job fails
// and says both, and the others have it. Then node3 comes back and the job is retried.
func (s *site) broken(t *testing.T, password string) {
	image := s.push("private/large:1", 1, smallDisk+16<<20)
	s.nodes[2].Darterd.Kill()
	j := s.preheat(password, "--scope", "all", "--platform", "linux/amd64", image)
	if j.State != "failed" || j.state("seed") != "succeeded" || j.state("node1") != "succeeded" ||
		!strings.Contains(j.state("node2"), "failed") || j.state("node3") != "failed" || !strings.Contains(j.words(), "cannot be reached") {
		t.Errorf("%s: seed %s, node1 %s, node2 %s, node3 %s\n%s", j.State, j.state("seed"), j.state("node1"), j.state("node2"), j.state("node3"), j.words())
	}
	t.Log(j.words())
	if err := s.nodes[2].Darterd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.manager.Darter(t.Context(), s.rest.Token, "", "job", "retry", fmt.Sprint(j.ID)); err != nil {
		t.Error(err)
	}
	if j = s.end(j.ID); j.State != "failed" || j.state("node1") != "succeeded" || j.state("node3") != "succeeded" || !strings.Contains(j.state("node2"), "failed") {
		t.Errorf("retried: %s: node1 %s, node2 %s, node3 %s\n%s", j.State, j.state("node1"), j.state("node2"), j.state("node3"), j.words())
	}
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
