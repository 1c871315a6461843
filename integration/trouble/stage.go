package trouble

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// link is every host's.
const link = 200 * lab.Mbit

// stage is a registry behind a relay, a scheduler, a seed and nodes.
type stage struct {
	t         testing.TB
	lab       *lab.Lab
	cluster   *lab.Cluster
	registry  *lab.Registry
	relay     *relay
	scheduler *lab.Scheduler
	seed      *lab.Darterd
	nodes     []*lab.Darterd
	pushed    int
}

// newStage starts all but the nodes.
func newStage(t testing.TB) *stage {
	t.Helper()
	s := &stage{t: t, lab: labtest.New(t, lab.Options{}, "docker-registry")}
	host := s.host("registry")
	var err error
	if s.registry, err = host.StartRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.relay = newRelay(t, s.registry)
	if s.cluster, err = s.lab.NewCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.scheduler, err = s.cluster.StartScheduler(t.Context(), s.host("scheduler")); err != nil {
		t.Fatal(err)
	}
	s.seed = s.start(s.host("seed"), lab.DarterdOptions{Seed: true})
	return s
}

func (s *stage) host(name string) *lab.Host {
	s.t.Helper()
	h, err := s.lab.AddHost(s.t.Context(), name, lab.Both(link))
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// start starts a darterd that is as patient as one is by default.
func (s *stage) start(h *lab.Host, o lab.DarterdOptions) *lab.Darterd {
	s.t.Helper()
	o.Scheduler, o.AsShipped = s.scheduler.Addr, true
	o.Registries = map[string]string{s.relay.addr: "http://" + s.relay.addr}
	d, err := s.cluster.StartDarterd(s.t.Context(), h, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// addNodes starts nodes.
func (s *stage) addNodes(count int) {
	s.t.Helper()
	for range count {
		s.nodes = append(s.nodes, s.start(s.host(fmt.Sprint("node", len(s.nodes)+1)), lab.DarterdOptions{}))
	}
}

// addAhead starts a node whose monotonic clock is 30 days before the others'.
func (s *stage) addAhead() {
	s.t.Helper()
	s.nodes = append(s.nodes, s.start(s.host(fmt.Sprint("node", len(s.nodes)+1)), lab.DarterdOptions{Ahead: 30 * 24 * time.Hour}))
}

// addCramped starts a node whose store is on a file system of so many bytes.
func (s *stage) addCramped(bytes int64) {
	s.t.Helper()
	h := s.host(fmt.Sprint("node", len(s.nodes)+1))
	at := filepath.Join(h.Data, "cramped")
	if err := os.Mkdir(at, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) }) // the lab's end would do so, too
	s.nodes = append(s.nodes, s.start(h, lab.DarterdOptions{StoreRoot: at}))
}

// push puts a content of random bytes into the registry and returns its digest.
func (s *stage) push(size int64, f fault) string {
	s.t.Helper()
	image, err := random.Image(size, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	s.pushed++
	pushed, err := s.registry.Push(s.t.Context(), image, fmt.Sprintf("%s:%d", repository, s.pushed))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range pushed.Blobs {
		if b.Kind == "layer" {
			s.relay.set(b.Digest.String(), f)
			return b.Digest.String()
		}
	}
	s.t.Fatal("an image without a layer")
	return ""
}

// repository is the contents' place in the registry.
const repository = "trouble"

// mirrorURL is where a node's client asks its darterd; plainURL is the relay itself.
func (s *stage) mirrorURL(digest string) string {
	return lab.Mirror + "/v2/" + repository + "/blobs/" + digest + "?ns=" + s.relay.addr
}

func (s *stage) plainURL(digest string) string {
	return strings.Join([]string{"http:/", s.relay.addr, "v2", repository, "blobs", digest}, "/")
}
