package containerd

import (
	"fmt"
	"strings"
	"testing"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/labtest"
)

// TestWrongOrigin pulls from an origin whose bytes are not those of their digests:
// the pull fails with a clear error, and neither containerd nor darterd keeps what
// is wrong. The same content from the right origin is then pulled through the
// same darterd.
func TestWrongOrigin(t *testing.T) {
	l := labtest.New(t, lab.Options{}, lab.SystemTools...)
	host, err := l.AddHost(t.Context(), "liar", lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	address := host.HostPort(liarPort)
	s, pushed := newSystem(t, l, lab.SystemOptions{Nodes: 2, Registries: map[string]string{address: "http://" + address}}, small)
	liar := startLiar(t, host, s.Registry)
	for _, node := range s.Nodes {
		if err := node.UseMirror(address, lab.Mirror); err != nil {
			t.Fatal(err)
		}
	}
	for _, pulled := range s.PullAll(t.Context(), lab.Ctr, strings.Replace(pushed.Ref, s.Registry.Addr, address, 1), nil) {
		t.Logf("%s: %s", pulled.Node.Host.Name, lastLine(pulled.Err))
		if pulled.Err == nil || !strings.Contains(pulled.Err.Error(), "digest") {
			t.Errorf("%s: the pull from the liar ended with: %v", pulled.Node.Host.Name, pulled.Err)
		}
	}
	if liar.lies.Load() == 0 {
		t.Error("the liar did not lie")
	}
	revoked := 0
	for _, d := range []*lab.Darterd{s.Seed, s.Nodes[0].Darterd, s.Nodes[1].Darterd} {
		revoked += wantNothingWrong(t, d, pushed, address)
	}
	if revoked == 0 {
		t.Error("nobody says that the content was revoked, and whose it was")
	}
	for _, node := range s.Nodes {
		if has := nodeHas(t.Context(), node.Containerd, pushed, "layer"); has == pushed.Layers {
			t.Errorf("%s kept every layer", node.Host.Name)
		}
		// What containerd has in part of the failed pull it would resume.
		if err := node.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, pulled := range s.PullAll(t.Context(), lab.Ctr, pushed.Ref, nil) {
		if pulled.Err != nil {
			t.Errorf("from the right origin: %v", pulled.Err)
		} else if err := pulled.Node.Verify(t.Context(), lab.Ctr, pushed); err != nil {
			t.Error(err)
		}
	}
}

// lastLine is the end of an error, which may hold much of what a client printed.
func lastLine(err error) string {
	text := fmt.Sprint(err)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// wantNothingWrong fails the test if a darterd holds a lie as complete, and returns
// how many contents it explains as revoked, naming the origin.
func wantNothingWrong(t *testing.T, d *lab.Darterd, i lab.Image, origin string) (revoked int) {
	t.Helper()
	for _, blob := range i.Blobs {
		explanation, err := d.Explain(t.Context(), blob.Digest.String())
		if err != nil || blob.Size < smallestLie {
			continue // not known is right, too
		}
		for _, task := range explanation.Tasks {
			if task.State == darterdv1.TaskComplete || task.DigestOK != nil && *task.DigestOK {
				t.Errorf("%s holds %s, of which it was told lies, as %s, digest right: %v", d.Host.Name, blob.Digest, task.State, task.DigestOK)
			}
			if task.State == darterdv1.TaskRevoked && strings.Contains(task.Error, origin) {
				revoked++
			}
			t.Logf("%s: %s: %s %s", d.Host.Name, blob.Digest, task.State, task.Error)
		}
	}
	return revoked
}
