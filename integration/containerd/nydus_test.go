package containerd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
	"github.com/darter-p2p/darter/integration/lab/labtest"
	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

// lazySystem is a system whose nodes mount Nydus images.
type lazySystem struct {
	*doorSystem
	rafs []*lab.Rafs // of each node
}

// noFill has nothing fetched but what is read.
const noFill = "[rafs.fill]\nenable = false\n"

// quickFill has the rest fetched at once.
const quickFill = "[rafs.fill]\ndelay = '1ms'\nquiet = '1ms'\n"

func newLazySystem(t *testing.T, o lab.SystemOptions, extra string, tools ...string) *lazySystem {
	t.Helper()
	if reason := lab.NoLazy(); reason != "" {
		t.Skip(reason)
	}
	l := labtest.New(t, lab.Options{}, append(tools, lab.SystemTools...)...)
	s := &lazySystem{doorSystem: startDoorSystem(t, l, o)}
	for _, node := range s.Nodes {
		r, err := s.Cluster.StartRafs(t.Context(), node.Darterd, extra)
		if err != nil {
			t.Fatal(err)
		}
		s.rafs = append(s.rafs, r)
	}
	return s
}

// convert makes a Nydus image of a crafted one, and returns both.
func (s *lazySystem) convert(t *testing.T, c image.Crafted, name string, flags ...string) (ordinary, nydus lab.Image) {
	t.Helper()
	ordinary = push(t, s.Registry, c, "lab/"+name+":1")
	nydus, err := s.Cluster.Convert(t.Context(), s.Registry, ordinary.Ref, "lab/"+name+":nydus", flags...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	return ordinary, nydus
}

// noise is bytes that do not compress.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	for r := rand.New(rand.NewPCG(seed, 1)); n > 0; n-- {
		b[n-1] = byte(r.Uint32())
	}
	return string(b)
}

// wantNoMounts fails the test if the node still mounts a lazy image.
func wantNoMounts(t *testing.T, node *lab.Node) {
	t.Helper()
	eventually(t, func() error {
		left, err := node.Host.RafsMounts()
		for _, at := range left {
			if !strings.HasPrefix(at, node.Host.Data+"/darter/rafs/") { // the server's own device files
				return fmt.Errorf("%s: still mounted: %v", node.Host.Name, left)
			}
		}
		return err
	})
}

// timeless takes the times from directories that have none of their own in an archive, as
// other says: an unpacker gives them that of the day.
func timeless(tree, other rootfs.Tree) rootfs.Tree {
	out := rootfs.Tree{}
	for name, says := range tree {
		if strings.Contains(other[name], " time recent") {
			before, after, _ := strings.Cut(says, " time ")
			_, after, _ = strings.Cut(after, " ")
			says = before + " " + after
		}
		out[name] = says
	}
	return out
}

// TestNydusClients pulls and runs a Nydus image with every client: no data layer is
// downloaded for the pull, the root file system is that of the ordinary image, and
// nothing is mounted when the containers are gone.
func TestNydusClients(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 1}, "", "nerdctl", "crictl")
	node := s.Nodes[0]
	push(t, s.Registry, craft(t), pause)
	ordinary, nydus := s.convert(t, craft(t, append(odd(t, "nydus"), pack(t, image.Gzip, image.File("large", 0o644, noise(1, 3<<20))))...), "odd")
	want := s.right(t, ordinary)
	if err := s.Registry.Mark(); err != nil {
		t.Fatal(err)
	}
	for _, client := range lab.Clients {
		if err := node.Pull(t.Context(), client, nydus.Ref); err != nil {
			t.Fatal(err)
		}
		wantFetched(t, node.Containerd, client, nydus, 0)
		wantNoMounts(t, node)
		got, err := node.Rootfs(t.Context(), client, lab.Door, nydus.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := rootfs.Compare(timeless(got, want), timeless(want, want)); err != nil {
			t.Errorf("%s: the root file system is not that of the ordinary image:\n%v", client, err)
		}
	}
	wantBlobRequests(t, s.Registry, node.Host, false) // all came through the seed

	const asked = "kept by nydus"
	nerdctl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Nerdctl, args...) }
	nerdctl("run", "-d", "--name", "one", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), nydus.Ref)
	if got := nerdctl("exec", "one", "cat", "/odd/kept"); got != asked {
		t.Errorf("nerdctl's container reads %q", got)
	}
	nerdctl("exec", "one", "sh", "-c", "echo changed >/odd/changed; rm /odd/kept")
	ctr := func(args ...string) string { return mustRun(t, node.Containerd, lab.Ctr, args...) }
	ctr("run", "-d", "--snapshotter", lab.Door, "--cgroup", "/"+s.Lab.ID()+"/two", nydus.Ref, "two")
	if got := ctr("tasks", "exec", "--exec-id", "e", "two", "cat", "/odd/kept"); got != asked {
		t.Errorf("ctr's container reads %q", got)
	}
	pod, container := runPod(t, node.Containerd, s.Lab.ID(), nydus.Ref)
	crictl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Crictl, args...) }
	if got := crictl("exec", "-s", container, "cat", "/odd/kept"); got != asked {
		t.Errorf("the pod's container reads %q", got)
	}
	crictl("rmp", "-f", pod)
	ctr("tasks", "kill", "--signal", "KILL", "two")
	eventually(t, func() error {
		_, err := node.Ctr(t.Context(), "containers", "rm", "two")
		return err
	})
	nerdctl("rm", "-f", "one")
	wantNoMounts(t, node)
	wantEmptyDoor(t, node.Containerd)
}

// TestNydusDeaths kills what serves a container, one after the other, while it reads:
// what it has read it goes on reading, the rest it gets when the dead is back.
func TestNydusDeaths(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 1}, noFill, "nerdctl")
	node, server := s.Nodes[0], s.rafs[0]
	var files []image.Entry
	for i := range 6 {
		files = append(files, image.File(fmt.Sprintf("part%d", i), 0o644, noise(uint64(i), 2<<20)))
	}
	_, nydus := s.convert(t, craft(t, pack(t, image.Gzip, files...)), "life")
	nerdctl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Nerdctl, args...) }
	nerdctl("pull", nydus.Ref)
	nerdctl("run", "-d", "--name", "one", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), nydus.Ref)
	next := 0
	read := func(name, when string) {
		t.Helper()
		if got := nerdctl("exec", name, "sh", "-c", fmt.Sprintf("cat /part%d | wc -c", next)); got != fmt.Sprint(2<<20) {
			t.Errorf("%s: the container reads %q bytes of part %d", when, got, next)
		}
		next++
	}
	again := func(when string) {
		t.Helper()
		if got := nerdctl("exec", "one", "sh", "-c", "cat /part0 | wc -c"); got != fmt.Sprint(2<<20) {
			t.Errorf("%s: the container reads %q bytes of what it had", when, got)
		}
	}
	read("one", "at first")

	node.Darterd.Kill()
	again("darterd is dead")
	if err := node.Darterd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	read("one", "darterd is back")

	if err := server.KillAlone(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	again("the mount server is back")
	read("one", "the mount server is back")

	if err := syscall.Kill(node.Containerd.Pid(), syscall.SIGKILL); err != nil { // not the shims
		t.Fatal(err)
	}
	<-node.Containerd.Done()
	if err := node.Containerd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	read("one", "containerd is back")
	nerdctl("run", "-d", "--name", "two", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), nydus.Ref)
	read("two", "a new container")
	nerdctl("rm", "-f", "one", "two")
	wantNoMounts(t, node)
	nerdctl("rmi", nydus.Ref)
	wantEmptyDoor(t, node.Containerd)
}

// TestNydusWithoutOrigin takes the registry and the seed away when one node has an
// image: another, that has the image but none of its data, starts it all the same.
func TestNydusWithoutOrigin(t *testing.T) {
	s := newLazySystem(t, lab.SystemOptions{Nodes: 2}, quickFill, "nerdctl")
	const size = 3 << 20
	_, nydus := s.convert(t, craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(9, size)))), "life")
	run := func(node *lab.Node) string {
		return mustRun(t, node.Containerd, lab.Nerdctl, "run", "--rm", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), nydus.Ref, "sh", "-c", "cat /large | wc -c")
	}
	for _, node := range s.Nodes {
		mustRun(t, node.Containerd, lab.Nerdctl, "pull", nydus.Ref)
	}
	keeps := mustRun(t, s.Nodes[0].Containerd, lab.Nerdctl, "run", "-d", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), nydus.Ref, "sleep", "600")
	wantHeld(t, s.Nodes[0].Darterd, nydus)
	s.Registry.Kill()
	s.Seed.Kill()
	began := time.Now()
	if got := run(s.Nodes[1]); got != fmt.Sprint(size) {
		t.Errorf("the second node reads %q bytes", got)
	}
	t.Logf("without registry and seed a container ran in %.1f s", time.Since(began).Seconds())
	mustRun(t, s.Nodes[0].Containerd, lab.Nerdctl, "rm", "-f", keeps)
	for _, node := range s.Nodes {
		wantNoMounts(t, node)
	}
}

// wantHeld waits until a darterd has the data of an image for others: what a program
// waited for reached darter-rafs before it was in the store.
func wantHeld(t *testing.T, d *lab.Darterd, i lab.Image) {
	t.Helper()
	eventually(t, func() error {
		for _, b := range i.Blobs {
			if b.Kind != "layer" {
				continue
			}
			e, err := d.Explain(t.Context(), b.Digest.String())
			if err != nil {
				return err
			}
			// The last piece may be of the blob's table of contents alone, which nobody reads.
			if !slices.ContainsFunc(e.Tasks, func(task darterdv1.Explain) bool { return task.Size-task.Held <= 8<<10 }) {
				return fmt.Errorf("%s does not hold %s: %+v", d.Host.Name, b.Digest, e.Tasks)
			}
		}
		return nil
	})
}

// TestNydusAtOnce starts one container on all nodes at once: the registry sends each
// byte once.
func TestNydusAtOnce(t *testing.T) {
	nodes := 3
	if os.Getenv("DARTER_STRESS") != "" {
		nodes = 8
	}
	s := newLazySystem(t, lab.SystemOptions{Nodes: nodes}, noFill, "nerdctl")
	const size = 8 << 20
	_, nydus := s.convert(t, craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(5, size)))), "life")
	var data int64
	for _, blob := range nydus.Blobs {
		data += blob.Size
	}
	for _, pulled := range s.PullAll(t.Context(), lab.Nerdctl, nydus.Ref, nil) {
		if pulled.Err != nil {
			t.Fatal(pulled.Err)
		}
	}
	start := func(node *lab.Node, i lab.Image) (time.Duration, error) {
		began := time.Now()
		out, err := node.Run(t.Context(), lab.Nerdctl, "run", "--rm", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), i.Ref, "sh", "-c", "cat /large /bin/busybox | wc -c")
		if err == nil && len(strings.TrimSpace(out)) < len(fmt.Sprint(size)) {
			err = fmt.Errorf("%s reads %s bytes", node.Host.Name, out)
		}
		return time.Since(began), err
	}
	took := make([]time.Duration, nodes)
	var all errgroup.Group
	for n, node := range s.Nodes {
		all.Go(func() (err error) {
			took[n], err = start(node, nydus)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	slices.Sort(took)
	requests, err := s.Registry.Requests()
	if err != nil {
		t.Fatal(err)
	}
	var sent int64
	for _, r := range requests {
		if r.IsBlobRead() {
			sent += r.Bytes
		}
	}
	t.Logf("%d nodes: the registry sent %d bytes of blobs, which have %d; read to the end in %v (median), %v (last)", nodes, sent, data, took[nodes/2], took[nodes-1])
	if nodes > 3 { // for the figure: another image on one node alone
		_, single := s.convert(t, craft(t, pack(t, image.Gzip, image.File("large", 0o644, noise(6, size)))), "single")
		mustRun(t, s.Nodes[0].Containerd, lab.Nerdctl, "pull", single.Ref)
		alone, err := start(s.Nodes[0], single)
		t.Logf("one node alone: %v, %v", alone, err)
	}
	if float64(sent) > 1.05*float64(data) {
		t.Errorf("the registry sent %d bytes of blobs, which have %d", sent, data)
	}
}
