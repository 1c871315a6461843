package containerd

import (
	"fmt"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

// failFast is how long a pull may take to fail when darterd is dead, on a machine
// that is busy.
const failFast = 20 * time.Second

// TestDoorDeathMidPull kills darterd with -9 in the middle of a pull: the pull fails
// soon, with the reason, and passes when it is tried again. Nothing of the first
// attempt is left.
func TestDoorDeathMidPull(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1, Link: lab.Both(100 * lab.Mbit)})
	node := s.Nodes[0]
	pushed, err := s.Registry.BuildAndPush(t.Context(), image.Recipe{Layers: 4, Bytes: 24 << 20, Compression: image.Gzip}, "lab/large:1")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Pull(t.Context(), lab.Ctr, pushed.Ref) }()
	waitUntilReceived(t, node, pushed.Bytes/4)
	node.Darterd.Kill()
	killed := time.Now()
	err = <-ended
	t.Logf("%.1f s after the death the pull ended: %s", time.Since(killed).Seconds(), lastLine(err))
	if time.Since(killed) > failFast {
		t.Error("too late")
	}
	if err := node.Darterd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := node.Pull(t.Context(), lab.Ctr, pushed.Ref); err != nil {
		t.Fatal(err)
	}
	wantRootfs(t, node.Containerd, lab.Ctr, pushed, s.right(t, pushed))
	wantEmptyDoor(t, node.Containerd)
}

// TestDoorDeathUnderContainers kills darterd with -9 under a running container, and
// starts containerd again meanwhile: the container goes on, and when darterd is back
// all can be used and removed as if nothing had been.
func TestDoorDeathUnderContainers(t *testing.T) {
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1}, "nerdctl")
	node := s.Nodes[0]
	pushed := s.push(t, craft(t, odd(t, "death")...), "lab/life:1")
	nerdctl := func(args ...string) string { return mustRun(t, node.Containerd, lab.Nerdctl, args...) }
	wantAlive := func(when string) {
		t.Helper()
		if got := nerdctl("exec", "one", "cat", "/odd/kept"); got != "kept by death" {
			t.Errorf("%s: the container reads %q", when, got)
		}
	}
	nerdctl("pull", pushed.Ref)
	nerdctl("run", "-d", "--name", "one", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), pushed.Ref)
	wantAlive("at first")
	node.Darterd.Kill()
	wantAlive("darterd is dead")
	// Killing the containerd's group would kill the shims, as no service manager does.
	node.Containerd.Stop(10 * time.Second)
	if err := node.Containerd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAlive("containerd began again without darterd")
	if err := node.Darterd.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAlive("darterd is back")
	nerdctl("run", "-d", "--name", "two", "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), pushed.Ref)
	if got := nerdctl("exec", "two", "cat", "/odd/kept"); got != "kept by death" {
		t.Errorf("a new container reads %q", got)
	}
	nerdctl("rm", "-f", "one", "two")
	nerdctl("rmi", pushed.Ref)
	wantEmptyDoor(t, node.Containerd)
}

// TestDoorSlowLayer lets a layer come slower than the door waits, while containerd
// collects garbage of the door: that waits for the layer, and every container start
// waits behind it, but not longer than the bound. The pull ends right, by containerd
// itself.
func TestDoorSlowLayer(t *testing.T) {
	const bound = 8 * time.Second
	s := newDoorSystem(t, lab.SystemOptions{Nodes: 1, DoorExtra: `prepare_timeout = "8s"`}, "nerdctl")
	node := s.Nodes[0]
	other := s.push(t, craft(t, unlike(t, "other")), "lab/other:1")
	garbage := s.push(t, craft(t, unlike(t, "garbage")), "lab/garbage:1")
	for _, i := range []lab.Image{other, garbage} {
		if err := node.Pull(t.Context(), lab.Ctr, i.Ref); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string) time.Duration {
		start := time.Now()
		mustRun(t, node.Containerd, lab.Nerdctl, "run", "-d", "--name", name, "--net", "none", "--cgroup-parent", "/"+s.Lab.ID(), other.Ref)
		return time.Since(start)
	}
	alone := run("alone")

	slow, err := s.Registry.BuildAndPush(t.Context(), image.Recipe{Layers: 2, Bytes: 24 << 20, Compression: image.Gzip}, "lab/slow:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Host.Shape(t.Context(), lab.Both(2*lab.Mbit)); err != nil { // 100 s
		t.Fatal(err)
	}
	before := status(t, node).Bytes.Total()
	pulled := make(chan error, 1)
	go func() { pulled <- node.Pull(t.Context(), lab.Ctr, slow.Ref) }()
	waitUntilReceived(t, node, before+64<<10) // of a layer
	collected := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := node.Ctr(t.Context(), "images", "rm", "--sync", garbage.Ref)
		collected <- err
	}()
	containers, longest := []string{"alone"}, time.Duration(0)
	for done := false; !done; {
		name := fmt.Sprintf("beside-%d", len(containers))
		longest = max(longest, run(name))
		containers = append(containers, name)
		select {
		case err := <-collected:
			done = true
			if err != nil {
				t.Error(err)
			}
		default:
		}
	}
	t.Logf("the garbage collection took %.1f s; the slowest of %d containers started after %.1f s, alone one does after %.1f s",
		time.Since(start).Seconds(), len(containers)-1, longest.Seconds(), alone.Seconds())
	if longest > bound+failFast {
		t.Errorf("more than the bound of %v", bound)
	}
	if err := node.Host.Shape(t.Context(), lab.Link{}); err != nil {
		t.Fatal(err)
	}
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	wantFetched(t, node.Containerd, lab.Ctr, slow, slow.Layers)
	wantRootfs(t, node.Containerd, lab.Ctr, slow, s.right(t, slow))
	mustRun(t, node.Containerd, lab.Nerdctl, append([]string{"rm", "-f"}, containers...)...)
	wantEmptyDoor(t, node.Containerd)
}
