package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/plugin/rafs/convert"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

// A container's files are there at once, and their bytes when they are read, in every
// mode of mounting.
func TestLazyMount(t *testing.T) {
	for name, force := range map[string]mount.Method{"probed": {}, "loop": {Mode: mount.Loop}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.force = force
			s := n.open()
			if m := s.Status().Mode; string(m) == string(mount.Refused) {
				t.Skip(s.Status().Reason)
			}
			if err := s.Mount(t.Context(), n.request()); err != nil {
				t.Fatal(err)
			}
			if c := n.darterd.count(""); c != 0 && force.Mode == "" {
				t.Errorf("%d requests before anything was read", c)
			}
			n.check()
			m := s.List()[0]
			if !m.Complete() || m.Blobs[0].Plain {
				t.Errorf("%+v", m)
			}
		})
	}
}

// What is asked for again is there; a blob that is complete is mounted as a plain file.
func TestPromotion(t *testing.T) {
	n := newNode(t)
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Errorf("the same again: %v", err)
	}
	other := n.request()
	other.Repository = "library/y"
	if err := s.Mount(t.Context(), other); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	n.check()
	asked := n.darterd.count("")
	if err := s.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if mount.IsMounted(n.mnt) {
		t.Error("still mounted")
	}
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	n.check()
	for _, b := range s.List()[0].Blobs {
		if !b.Plain {
			t.Errorf("%+v", b)
		}
	}
	if again := n.darterd.count(""); again != asked {
		t.Errorf("%d requests for what is held", again-asked)
	}
	if err := s.Unmount(t.Context(), "nobody"); err != nil {
		t.Error(err)
	}
}

func TestFillToTheEnd(t *testing.T) {
	n := newNode(t)
	n.cfg.Fill.Enable, n.cfg.Fill.Delay, n.cfg.Fill.Quiet = true, 0, 0
	s := n.open()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !s.List()[0].Complete(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", s.List())
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if u, b := n.darterd.count(darterdv1.NeedUrgent), n.darterd.count(darterdv1.NeedBackground); u != 0 || b == 0 {
		t.Errorf("%d urgent requests, %d for nobody", u, b)
	}
	n.darterd.stop() // nobody is needed any more
	n.check()
}

// What the image's builder thought is read first comes at once, before anybody asks, and
// the rest is left for later.
func TestPrefetchTable(t *testing.T) {
	first := []string{"layer0-3", "layer1-2"}
	n := newNode(t)
	n.cfg.Fill.Enable, n.cfg.Fill.Delay, n.cfg.Fill.Quiet = true, config.Duration(time.Hour), 0
	s := n.open()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	made, err := convert.Convert(t.Context(), n.img.layers, t.TempDir(), convert.Options{ChunkSize: chunkSize, Prefetch: first})
	if err != nil {
		t.Fatal(err)
	}
	r := n.request()
	r.Bootstrap = made.Bootstrap // the blobs are the same
	if err := s.Mount(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	held := func() (n int) {
		for _, b := range s.List()[0].Blobs {
			n += b.Held
		}
		return n
	}
	const chunks = 23 + 1 // of 3,000,000 bytes and of 70,000, 128 KiB each
	for deadline := time.Now().Add(time.Minute); held() < chunks; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d chunks", held())
		}
	}
	s.mu.Lock()
	over := s.mounts[r.ID].wish.over.Load()
	s.mu.Unlock()
	if got := held(); got != chunks || !over {
		t.Errorf("%d chunks came, want %d; over: %t", got, chunks, over)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if u := n.darterd.count(darterdv1.NeedUrgent); u != 0 {
		t.Errorf("%d urgent requests", u)
	}
	n.darterd.stop() // nobody is needed for those files
	for _, name := range first {
		if got, err := os.ReadFile(filepath.Join(n.mnt, name)); err != nil || !bytes.Equal(got, n.img.files[name]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	n := newNode(t)
	s := n.open()
	foreign := n.request()
	foreign.Blobs = []digest.Digest{digest.FromString("another")}
	if err := s.Mount(t.Context(), foreign); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "manifest") {
		t.Errorf("a bootstrap that names a foreign blob: %v", err)
	}
	bad := n.request()
	bad.Bootstrap = filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad.Bootstrap, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Mount(t.Context(), bad); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no bootstrap: %v", err)
	}
	if entries, err := os.ReadDir(s.mountsDir()); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if used, pinned := s.shelf.usage(); pinned != 0 {
		t.Errorf("%d of %d bytes are pinned", pinned, used)
	}
}

// A full cache gives back what nobody uses, and refuses what does not fit beside mounts.
func TestQuota(t *testing.T) {
	n := newNode(t)
	n.cfg.Cache.Quota = config.Bytes(7 << 20) // the image's 6 MB and little more
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	n.check()
	if err := s.shelf.roomLocked("another", 2<<20); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "one") {
		t.Errorf("beside a live mount: %v", err)
	}
	if err := s.Unmount(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.shelf.roomLocked("another", 2<<20); err != nil {
		t.Errorf("beside blobs that nobody uses: %v", err)
	}
	if held, _ := s.shelf.usage(); held+2<<20 > 7<<20 {
		t.Errorf("%d bytes are held", held)
	}
}

// What cannot be had is an input/output error, within a bounded time, and only there.
func TestNoBytes(t *testing.T) {
	n := newNode(t)
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	n.darterd.set(func(url.Values) int { return http.StatusServiceUnavailable }, nil)
	if _, err := os.ReadFile(filepath.Join(n.mnt, "layer0-3")); !errors.Is(err, unix.EIO) {
		t.Errorf("read: %v", err)
	}
	origin := false
	n.darterd.mu.Lock()
	for _, q := range n.darterd.asked {
		origin = origin || q.Get(darterdv1.OriginParam) == "1"
	}
	n.darterd.mu.Unlock()
	if !origin {
		t.Error("the origin was not tried")
	}
	n.darterd.set(nil, nil)
	n.check()
}

// darterd goes away in the middle of a read and comes back: the reader waits.
func TestDarterdRestarts(t *testing.T) {
	n := newNode(t)
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	n.darterd.set(nil, gate)
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(filepath.Join(n.mnt, "layer1-3"))
		read <- err
	}()
	for n.darterd.count("") == 0 {
		time.Sleep(time.Millisecond)
	}
	n.darterd.stop()
	close(gate)
	n.darterd.set(nil, nil)
	n.darterd.start()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the reader waits")
	}
	n.check()
}

// A reader who gets signals while he waits, as every Go program does, gets his bytes.
func TestSignals(t *testing.T) {
	n := newNode(t)
	s := n.open()
	if err := s.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	n.darterd.set(nil, gate)
	thread, read := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		_, err := os.ReadFile(filepath.Join(n.mnt, "layer0-3"))
		read <- err
	}()
	tid := <-thread
	for n.darterd.count("") == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 20 { // the kernel tells FUSE of the first; nothing tells us when it has
		if err := unix.Tgkill(os.Getpid(), tid, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	close(gate)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// A reader who is killed while he waits does not stay until his bytes come.
func TestKilledReader(t *testing.T) {
	for name, force := range map[string]mount.Method{"probed": {}, "loop": {Mode: mount.Loop}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.force = force
			s := n.open()
			if err := s.Mount(t.Context(), n.request()); err != nil {
				t.Fatal(err)
			}
			gate := make(chan struct{})
			n.darterd.set(nil, gate)
			open := sync.OnceFunc(func() { close(gate) })
			defer open()
			asked := n.darterd.count("")
			cat := exec.Command("cat", filepath.Join(n.mnt, "layer0-3"))
			if err := cat.Start(); err != nil {
				t.Fatal(err)
			}
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_ = cat.Wait() // killed
			}()
			for n.darterd.count("") == asked {
				time.Sleep(time.Millisecond)
			}
			if err := cat.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-gone:
			case <-time.After(30 * time.Second):
				t.Error("the reader is still there")
			}
			open()
			<-gone
			n.darterd.set(nil, nil)
			n.check()
		})
	}
}

// kill -9 of the mount server in the middle of a read. With a keeper the reader does
// not notice; without, his mount is made again, on a calm machine within 0.1 s (goal 2 s).
func TestServerKilled(t *testing.T) {
	for _, keeper := range []bool{true, false} {
		t.Run(fmt.Sprintf("keeper %v", keeper), func(t *testing.T) {
			n := newNode(t)
			c, k := n.spawn(keeper)
			if err := k.Mount(t.Context(), n.request()); err != nil {
				t.Fatal(err)
			}
			var before unix.Stat_t
			if err := unix.Stat(n.mnt, &before); err != nil {
				t.Fatal(err)
			}
			gate := make(chan struct{})
			n.darterd.set(nil, gate)
			read := make(chan error, 1)
			go func() {
				_, err := os.ReadFile(filepath.Join(n.mnt, "layer1-3"))
				read <- err
			}()
			for n.darterd.count("") == 0 {
				time.Sleep(time.Millisecond)
			}
			c.kill(t)
			close(gate)
			n.darterd.set(nil, nil)
			begin := time.Now()
			c, k = n.spawn(keeper)
			took := time.Since(begin)
			t.Logf("answers after %v", took)
			if took > 10*time.Second { // the goal is 2 s; this is for what hangs, not for what is slow
				t.Errorf("the server answers after %v", took)
			}
			select {
			case err := <-read:
				if keeper && err != nil {
					t.Errorf("the reader got %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("the reader waits")
			}
			n.check()
			var after unix.Stat_t
			if err := unix.Stat(n.mnt, &after); err != nil || keeper && before.Dev != after.Dev {
				t.Errorf("the mount was device %d and is %d; %v", before.Dev, after.Dev, err)
			}
			if err := k.Unmount(t.Context(), "one"); err != nil {
				t.Error(err)
			}
			c.end(t)
			clean(t, n)
		})
	}
}

// A server that is stopped and started, as by an upgrade, keeps readers waiting only.
func TestServerRestarts(t *testing.T) {
	n := newNode(t)
	c, k := n.spawn(true)
	if err := k.Mount(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	c.end(t)
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(filepath.Join(n.mnt, "layer0-3"))
		read <- err
	}()
	c, k = n.spawn(true)
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the reader waits")
	}
	n.check()
	if all, err := k.List(t.Context()); err != nil || len(all) != 1 || !all[0].Complete() {
		t.Errorf("%+v, %v", all, err)
	}
	if err := k.Unmount(t.Context(), "one"); err != nil {
		t.Error(err)
	}
	c.end(t)
	clean(t, n)
}

// clean checks that nothing is mounted below the node's directories.
func clean(t *testing.T, n *node) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{n.cfg.Root, n.mnt} {
		if strings.Contains(string(b), dir) {
			t.Errorf("something is mounted in %s", dir)
		}
	}
}

func TestHalfMadeState(t *testing.T) {
	n := newNode(t)
	half := filepath.Join(n.cfg.Root, "mounts", "half")
	gone := filepath.Join(n.cfg.Root, "mounts", "gone")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	r := n.request()
	r.ID, r.Mountpoint = "gone", "/nowhere/at/all"
	if err := writeRecord(gone, record{r, time.Now()}); err != nil {
		t.Fatal(err)
	}
	s := n.open()
	if len(s.List()) != 0 {
		t.Error(s.List())
	}
	for _, dir := range []string{half, gone} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for key, change := range map[string]func(*Config){
		"root":          func(c *Config) { c.Root = "x" },
		"socket":        func(c *Config) { c.Socket = "" },
		"fill.parallel": func(c *Config) { c.Fill.Parallel = 0 },
		"fill.delay":    func(c *Config) { c.Fill.Delay = -1 },
		"fetch":         func(c *Config) { c.Fetch.Attempts = 0 },
		"mount.mode":    func(c *Config) { c.Mount.Mode = "" },
		"cache":         func(c *Config) { c.Cache.Quota = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestPace(t *testing.T) {
	p := newPace(8 * 1000) // bits
	now := time.Unix(1, 0)
	if d := p.take(500, now); d != 500*time.Millisecond {
		t.Error(d)
	}
	if d := p.take(500, now); d != time.Second {
		t.Error(d)
	}
	if d := newPace(0).take(1<<40, now); d != 0 {
		t.Error(d)
	}
}
