package blobfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BLOBFS_TEST_DIR"); dir != "" {
		other(dir)
	}
	goleak.VerifyTestMain(m)
}

func needsFUSE(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this machine has no FUSE")
	}
}

// plain is a device whose bytes are all there, or are not given before gate is closed.
type plain struct {
	f    *os.File
	size int64
	gate chan struct{}
	err  error

	ready func(off, n int64) bool // nil = never
}

func (p *plain) Size() int64    { return p.size }
func (p *plain) File() *os.File { return p.f }

func (p *plain) Ready(off, n int64) bool { return p.ready != nil && p.ready(off, n) }

func (p *plain) Ensure(ctx context.Context, _, _ int64) error {
	select {
	case <-p.gate:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *plain) ReadAt(_ context.Context, b []byte, off int64) error {
	_, err := p.f.ReadAt(b, off)
	return err
}

func newPlain(t *testing.T, content []byte) *plain {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return &plain{f: f, size: int64(len(content)), gate: make(chan struct{})}
}

func content() []byte {
	b := make([]byte, 300<<10)
	for i := range b {
		b[i] = byte(i >> 8)
	}
	return b
}

func TestFiles(t *testing.T) {
	needsFUSE(t)
	dir, fs := t.TempDir(), New()
	s, err := Mount(dir, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	p := newPlain(t, content())
	close(p.gate)
	fs.Add("blob", p)
	got, err := os.ReadFile(filepath.Join(dir, "blob"))
	if err != nil || !bytes.Equal(got, content()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "blob")); err != nil || fi.Size() != p.size || fi.Mode() != 0o400 {
		t.Errorf("%v, %v", fi, err)
	}
	if _, err := os.OpenFile(filepath.Join(dir, "blob"), os.O_RDWR, 0); err == nil {
		t.Error("opened for writing")
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}

	bad := newPlain(t, content())
	bad.err = errors.New("no such chunk")
	close(bad.gate)
	fs.Add("bad", bad)
	if _, err := os.ReadFile(filepath.Join(dir, "bad")); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
	fs.Remove("bad")
}

// Reads of all lengths by many readers at once, some of which find their bytes ready.
func TestReadersAtOnce(t *testing.T) {
	needsFUSE(t)
	dir, fs := t.TempDir(), New()
	s, err := Mount(dir, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	all := content()
	p := newPlain(t, all)
	p.ready = func(off, _ int64) bool { return off/4096%2 == 0 }
	close(p.gate)
	fs.Add("blob", p)
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			f, err := os.OpenFile(filepath.Join(dir, "blob"), os.O_RDONLY|unix.O_DIRECT, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			r := rand.New(rand.NewPCG(uint64(i), 0))
			for range 50 {
				b := make([]byte, 4096<<r.IntN(7))
				off := 4096 * r.Int64N(int64(len(all))/4096+2)
				n, err := f.ReadAt(b, off)
				want := all[min(off, int64(len(all))):]
				want = want[:min(len(want), len(b))]
				if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(b[:n], want) {
					t.Errorf("%d bytes at %d: %d, %v", len(b), off, n, err)
				}
			}
		})
	}
	readers.Wait()
}

// What cannot be answered at once is left to those who may wait.
func TestShortRead(t *testing.T) {
	fs, p := New(), newPlain(t, content())
	p.ready = func(off, _ int64) bool { return off == 0 }
	fs.Add("blob", p)
	for name, c := range map[string]struct {
		node, off uint64
		size      uint32
		never     bool
	}{
		"there":     {node("blob"), 0, 4096, false}, // -1 where the test's disk cannot say that it would wait
		"not there": {node("blob"), 4096, 4096, true},
		"too long":  {node("blob"), 0, 8193, true},
		"at end":    {node("blob"), uint64(p.size), 4096, true},
		"beyond":    {node("blob"), 1 << 63, 4096, true},
		"no file":   {node("other"), 0, 4096, true},
	} {
		b := make([]byte, 8192)
		n := fs.read(&fuse.ReadIn{InHeader: fuse.InHeader{NodeId: c.node}, Offset: c.off, Size: c.size}, b)
		if n != -1 && (c.never || !bytes.Equal(b[:n], content()[c.off:][:c.size])) {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	fs.Halt()
	if n := fs.read(&fuse.ReadIn{InHeader: fuse.InHeader{NodeId: node("blob")}, Size: 4096}, make([]byte, 4096)); n != -1 {
		t.Errorf("%d bytes after Halt", n)
	}
	fs.Remove("blob") // nobody reads it any more
}

// A process that is killed while it owes the kernel an answer is replaced by another,
// and the reader gets his bytes.
func TestResume(t *testing.T) {
	needsFUSE(t)
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), "BLOBFS_TEST_DIR="+dir, "BLOBFS_TEST_SOCKET="+l.Addr().String())
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	dev, init, asked := taken(t, l)
	defer func() { // whatever happens, no reader hangs and nothing stays mounted
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}()

	type result struct {
		got []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		got, err := os.ReadFile(filepath.Join(dir, "blob"))
		read <- result{got, err}
	}()
	if _, err := asked.Read(make([]byte, 1)); err != nil { // the child was asked for bytes
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	asked.Close()

	fs, p := New(), newPlain(t, content())
	close(p.gate)
	fs.Add("blob", p)
	s, err := Resume(dir, dev, init, fs)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-read:
		if r.err != nil || !bytes.Equal(r.got, content()) {
			t.Errorf("%d bytes, %v", len(r.got), r.err)
		}
	case <-time.After(time.Minute):
		t.Error("the reader waits")
	}
	if err := s.Unmount(); err != nil {
		t.Error(err)
	}
	<-s.Served()
}

// taken accepts the child's connection: /dev/fuse, the kernel's first message, and the
// stream on which the child says that it is asked.
func taken(t *testing.T, l *net.UnixListener) (*os.File, []byte, net.Conn) {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	init, oob := make([]byte, initSize), make([]byte, 64)
	n, k, _, _, err := c.ReadMsgUnix(init, oob)
	if err != nil || n != len(init) {
		t.Fatal(n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:k])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "/dev/fuse"), init, c
}

// tattler is a device that never answers, and says when it is asked.
type tattler struct {
	plain
	to io.Writer
}

func (t *tattler) Ensure(ctx context.Context, off, n int64) error {
	_, _ = t.to.Write([]byte{1})
	return t.plain.Ensure(ctx, off, n)
}

// other is the process that is killed.
func other(dir string) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: os.Getenv("BLOBFS_TEST_SOCKET"), Net: "unix"})
	check(err)
	fs := New()
	fs.Add("blob", &tattler{plain{size: int64(len(content()))}, c})
	s, err := Mount(dir, fs)
	check(err)
	_, _, err = c.WriteMsgUnix(s.Init(), unix.UnixRights(int(s.Device().Fd())), nil)
	check(err)
	select {}
}

func TestResumeRefuses(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := Resume(t.TempDir(), null, nil, New()); err == nil {
		t.Error("without the kernel's first message")
	}
}

func TestNodes(t *testing.T) {
	for _, name := range []string{"", "a", "b"} {
		if n := node(name); n <= fuse.FUSE_ROOT_ID || n == ^uint64(0) {
			t.Errorf("%q: %d", name, n)
		}
	}
	if node("a") == node("b") {
		t.Error("two files are one")
	}
}
