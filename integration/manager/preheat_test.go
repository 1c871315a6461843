package manager_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/integration/manager"
)

// site is a private registry, a manager, a scheduler, a seed and three nodes with a real
// containerd, each in a network namespace. The pieces of node2 are on a disk of 64 MiB.
type site struct {
	t        *testing.T
	registry *lab.Registry
	manager  *lab.Manager
	rest     *manager.Client
	cluster  int64
	seed     *lab.Darterd
	nodes    []*lab.Node
}

const smallDisk = 64 << 20

func newSite(t *testing.T) *site {
	t.Helper()
	l := labtest.New(t, lab.Options{}, append([]string{"crictl"}, lab.SystemTools...)...)
	s := &site{t: t}
	host := func(name string) *lab.Host {
		t.Helper()
		h, err := l.AddHost(t.Context(), name, lab.Link{})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	cluster, err := l.NewCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.registry, err = host("registry").StartPrivateRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.manager, err = cluster.StartManager(t.Context(), host("manager"), ""); err != nil {
		t.Fatal(err)
	}
	var transport *http.Transport
	if s.rest, transport, err = s.manager.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	var made struct{ ID int64 }
	if err := s.rest.Ask(t.Context(), "POST", "/clusters", map[string]any{"name": "prod", "is_default": true}, &made); err != nil {
		t.Fatal(err)
	}
	s.cluster = made.ID
	scheduler, err := cluster.StartScheduler(t.Context(), host("scheduler"))
	if err != nil {
		t.Fatal(err)
	}
	o := lab.DarterdOptions{Scheduler: scheduler.Addr, Registries: map[string]string{s.registry.Addr: "http://" + s.registry.Addr}}
	o.Seed = true
	if s.seed, err = cluster.StartDarterd(t.Context(), host("seed"), o); err != nil {
		t.Fatal(err)
	}
	o.Seed = false
	for i := range 3 {
		h := host(fmt.Sprintf("node%d", i+1))
		o.StoreRoot = ""
		if i == 1 {
			o.StoreRoot = filepath.Join(h.Data, "small")
			mountSmall(t, o.StoreRoot)
		}
		n := &lab.Node{}
		if n.Darterd, err = cluster.StartDarterd(t.Context(), h, o); err != nil {
			t.Fatal(err)
		}
		if n.Containerd, err = h.StartContainerd(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.UseMirror(s.registry.Addr, lab.Mirror); err != nil {
			t.Fatal(err)
		}
		s.nodes = append(s.nodes, n)
	}
	until(t, "the manager knows all", time.NewTicker(50*time.Millisecond).C, func() bool { return s.active() == 4 })
	return s
}

// mountSmall mounts a disk of 64 MiB, which goes with the lab at the latest.
func mountSmall(t *testing.T, at string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(at, 0o755), unix.Mount("small", at, "tmpfs", 0, fmt.Sprintf("size=%d", smallDisk))); err != nil {
		t.Fatal(err)
	}
}

// active is how many seeds and nodes of the cluster are up.
func (s *site) active() (sum int) {
	s.t.Helper()
	for _, role := range []string{"seeds", "nodes"} {
		var page struct{ Total int }
		if err := s.rest.Ask(s.t.Context(), "GET", fmt.Sprintf("/%s?state=active&cluster_id=%d", role, s.cluster), nil, &page); err != nil {
			s.t.Fatal(err)
		}
		sum += page.Total
	}
	return sum
}

// push puts an image of two platforms, of so many layers each, into the registry.
func (s *site) push(repositoryTag string, layers int, layerBytes int64) (ref string) {
	s.t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(layerBytes, int64(layers))
		if err != nil {
			s.t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			s.t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", arch
		if img, err = mutate.ConfigFile(img, config); err != nil {
			s.t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	tag, err := name.NewTag(s.registry.Addr+"/"+repositoryTag, name.Insecure)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := s.registry.Host.Transport()
	defer transport.CloseIdleConnections()
	who := &authn.Basic{Username: s.registry.User, Password: s.registry.Password}
	if err := remote.WriteIndex(tag, index, remote.WithContext(s.t.Context()), remote.WithTransport(transport), remote.WithAuth(who)); err != nil {
		s.t.Fatal(err)
	}
	return tag.Name()
}

// item is one content on one node.
type item struct {
	Member   string `json:"member"`
	Content  string `json:"content"`
	State    string `json:"state"`
	Error    string `json:"error"`
	Pieces   int64  `json:"pieces"`
	Verified int64  `json:"verified"`
}

// shown is a job as `darter … --format json` shows it.
type shown struct {
	ID     int64  `json:"id"`
	State  string `json:"state"`
	Error  string `json:"error"`
	Items  []item `json:"items"`
	Result struct {
		Contents int   `json:"contents"`
		Bytes    int64 `json:"bytes"`
		Held     int64 `json:"bytes_held"`
		Move     int64 `json:"bytes_move"`
		Freed    int64 `json:"bytes_freed"`
		Items    int   `json:"items"`
		OK       int   `json:"succeeded"`
	} `json:"result"`
}

// of are the items of a member.
func (j shown) of(member string) []item {
	return slices.DeleteFunc(slices.Clone(j.Items), func(i item) bool { return i.Member != member })
}

// state is the one state that a member's items have, or all of them.
func (j shown) state(member string) string {
	var states []string
	for _, i := range j.of(member) {
		states = append(states, i.State)
	}
	slices.Sort(states)
	return strings.Join(slices.Compact(states), "+")
}

// words are all that a job and its items say.
func (j shown) words() string {
	text := j.Error
	for _, i := range j.Items {
		if i.Error != "" {
			text += "\n" + i.Member + ": " + i.Error
		}
	}
	return text
}

// preheat runs `darter preheat … --wait` and returns the job; its exit code must tell
// what became of it.
func (s *site) preheat(password string, args ...string) shown {
	s.t.Helper()
	args = append([]string{"preheat", "--wait", "--format", "json", "--cluster", fmt.Sprint(s.cluster), "--user", s.registry.User}, args...)
	out, err := s.manager.Darter(s.t.Context(), s.rest.Token, password, args...)
	var j shown
	if decoded := json.Unmarshal([]byte(out), &j); decoded != nil {
		s.t.Fatalf("%v: %q: %v", decoded, out, err)
	}
	if (err == nil) != (j.State == "succeeded") {
		s.t.Errorf("the job is %s, darter says %v", j.State, err)
	}
	if strings.Contains(out, password) || strings.Contains(out, "ZGFydGVy") {
		s.t.Error("the credential is in the output")
	}
	return j
}

// make makes a job by REST.
func (s *site) make(kind string, args map[string]any) int64 {
	s.t.Helper()
	var j struct{ ID int64 }
	if err := s.rest.Ask(s.t.Context(), "POST", "/jobs", map[string]any{"kind": kind, "cluster_id": s.cluster, "args": args}, &j); err != nil {
		s.t.Fatal(err)
	}
	return j.ID
}

// end waits for a job's end.
func (s *site) end(id int64) (j shown) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("job %d ends", id), time.NewTicker(50*time.Millisecond).C, func() bool {
		if err := s.rest.Ask(s.t.Context(), "GET", fmt.Sprintf("/jobs/%d", id), nil, &j); err != nil {
			s.t.Fatal(err)
		}
		return j.State != "running" && j.State != "waiting"
	})
	var page struct{ Items []item }
	if err := s.rest.Ask(s.t.Context(), "GET", fmt.Sprintf("/jobs/%d/items?per_page=1000", id), nil, &page); err != nil {
		s.t.Fatal(err)
	}
	j.Items = page.Items
	return j
}
