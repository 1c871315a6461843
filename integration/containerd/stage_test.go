package containerd

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// small is an image that a test has time for.
var small = image.Recipe{Layers: 5, Bytes: 32 << 20, Compression: image.Gzip}

// stage is a registry with an image and containerd nodes that read it straight.
type stage struct {
	lab      *lab.Lab
	link     lab.Link
	registry *lab.Registry
	image    lab.Image
	nodes    []*lab.Containerd
}

type stageOptions struct {
	nodes  int
	link   lab.Link
	recipe image.Recipe // zero = small
	tools  []string     // beside those of every stage
}

// newStage skips the test where the machine has not what it needs.
func newStage(t *testing.T, o stageOptions) *stage {
	t.Helper()
	l := labtest.New(t, lab.Options{}, append([]string{"containerd", "ctr", "docker-registry"}, o.tools...)...)
	s := &stage{lab: l, link: o.link}
	if o.recipe.Layers == 0 {
		o.recipe = small
	}
	var err error
	if s.registry, err = s.addHost(t, "registry").StartRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.image, err = s.registry.BuildAndPush(t.Context(), o.recipe, "lab/image:1"); err != nil {
		t.Fatal(err)
	}
	for i := range o.nodes {
		node, err := s.addHost(t, fmt.Sprintf("node%d", i+1)).StartContainerd(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := node.UseMirror(s.registry.Addr, ""); err != nil {
			t.Fatal(err)
		}
		s.nodes = append(s.nodes, node)
	}
	if err := s.registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) addHost(t *testing.T, name string) *lab.Host {
	t.Helper()
	h, err := s.lab.AddHost(t.Context(), name, s.link)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// newSystem starts the whole of darter, with an image of the recipe.
func newSystem(t *testing.T, l *lab.Lab, o lab.SystemOptions, recipe image.Recipe) (*lab.System, lab.Image) {
	t.Helper()
	s, err := l.StartSystem(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := s.Registry.BuildAndPush(t.Context(), recipe, "lab/image:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return s, pushed
}

// mostRelief is what a node may read of an image that its seed reads, in bytes: readers
// that get nothing for 2 s, as on a busy machine, may read a few pieces by the scheduler's
// leave.
const mostRelief = 6 << 20

// wantBlobRequests fails the test unless the registry was asked for blobs by the
// host exactly if some is true.
func wantBlobRequests(t *testing.T, registry *lab.Registry, from *lab.Host, some bool) {
	t.Helper()
	requests, err := registry.BlobRequests(from)
	if err != nil {
		t.Fatal(err)
	}
	var relief int64
	if !some {
		requests = slices.DeleteFunc(requests, func(r lab.Request) bool {
			mine := r.Status == http.StatusPartialContent && strings.HasPrefix(r.Agent, "darter/")
			if mine {
				relief += r.Bytes
			}
			return mine && relief <= mostRelief
		})
	}
	if some != (len(requests) > 0) {
		t.Errorf("the registry's log has %d reads of blobs by %s, wanted some: %t %v", len(requests), from.Name, some, requests)
	}
}
