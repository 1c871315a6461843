package server

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/serve"
	"github.com/darter-p2p/darter/plugin/rafs/client"
	"github.com/darter-p2p/darter/plugin/rafs/convert"
	"github.com/darter-p2p/darter/plugin/rafs/mount"
)

func TestMain(m *testing.M) {
	switch os.Getenv("RAFS_TEST_ROLE") {
	case "keeper":
		os.Exit(exitCode(KeepAt(3, time.Minute)))
	case "server":
		os.Exit(exitCode(process()))
	}
	var err error
	if imageDir, err = os.MkdirTemp("", "darter-rafs-image-"); err != nil {
		os.Exit(exitCode(err))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(imageDir)
		os.Exit(code)
	}))
}

// imageDir is the folder of makeImage's image, removed when the tests end.
var imageDir string

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func needsMounts(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this machine has no FUSE")
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(b), "\terofs\n") {
		t.Skip("this kernel has no EROFS")
	}
}

// image is a Nydus image of two layers, and its files.
type image struct {
	layers    []convert.Layer
	bootstrap string
	blobs     map[digest.Digest]string // paths
	files     map[string][]byte
}

// chunkSize is that of its chunks, in bytes.
const chunkSize = 128 << 10

var makeImage = sync.OnceValues(func() (*image, error) {
	img := &image{blobs: map[digest.Digest]string{}, files: map[string][]byte{}}
	r := rand.New(rand.NewPCG(1, 2))
	for l := range 2 {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for f, size := range []int{100, 4096, 70_000, 3_000_000, 0} {
			name := fmt.Sprintf("layer%d-%d", l, f)
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(r.Uint32()) & 0x3f // it compresses somewhat
			}
			img.files[name] = data
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size), ModTime: time.Unix(1, 0)}); err != nil {
				return nil, err
			}
			if _, err := w.Write(data); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		img.layers = append(img.layers, convert.Layer{MediaType: ocispec.MediaTypeImageLayer, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Bytes())), nil
		}})
	}
	made, err := convert.Convert(context.Background(), img.layers, imageDir, convert.Options{ChunkSize: chunkSize})
	if err != nil {
		return nil, err
	}
	img.bootstrap = made.Bootstrap
	for _, b := range made.Blobs {
		img.blobs[b.Digest] = b.Path
	}
	return img, nil
})

// fakeDarterd answers for the blobs of an image, unless it is told otherwise.
type fakeDarterd struct {
	t      *testing.T
	img    *image
	socket string
	stop   func()

	mu     sync.Mutex
	asked  []url.Values
	refuse func(q url.Values) int // a status, 0 = none
	gate   chan struct{}          // nil, or reads wait for its end
}

func newDarterdFake(t *testing.T, img *image) *fakeDarterd {
	d := &fakeDarterd{t: t, img: img, socket: filepath.Join(t.TempDir(), "darterd.sock")}
	d.start()
	t.Cleanup(func() { d.stop() })
	return d
}

func (d *fakeDarterd) start() {
	l, err := serve.Unix(d.socket, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serve.HTTP(ctx, l, d, time.Nanosecond) // cut requests are meant
	}()
	d.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
}

func (d *fakeDarterd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d.mu.Lock()
	d.asked = append(d.asked, q)
	gate, status := d.gate, 0
	if d.refuse != nil {
		status = d.refuse(q)
	}
	d.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	path := d.img.blobs[digest.Digest(q.Get(darterdv1.DigestParam))]
	if status == 0 && path == "" {
		status = http.StatusNotFound
	}
	if status != 0 {
		http.Error(w, "no", status)
		return
	}
	http.ServeFile(w, r, path)
}

func (d *fakeDarterd) set(refuse func(url.Values) int, gate chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse, d.gate = refuse, gate
}

func (d *fakeDarterd) count(need string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, q := range d.asked {
		if need == "" || q.Get(darterdv1.NeedParam) == need {
			n++
		}
	}
	return n
}

// node is a place for a mount server, in this process or another.
type node struct {
	t       *testing.T
	img     *image
	darterd *fakeDarterd
	cfg     Config
	mnt     string
	force   mount.Method
}

func newNode(t *testing.T) *node {
	t.Helper()
	needsMounts(t)
	img, err := makeImage()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, img: img, darterd: newDarterdFake(t, img), mnt: filepath.Join(t.TempDir(), "mnt")}
	if err := os.Mkdir(n.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	n.cfg = Default()
	n.cfg.Root, n.cfg.Darterd, n.cfg.Fill.Enable, n.cfg.Cache.Floor = t.TempDir(), n.darterd.socket, false, 0
	n.cfg.Socket = filepath.Join(t.TempDir(), "rafs.sock")
	n.cfg.Fetch.Patience = config.Duration(30 * time.Second)
	t.Cleanup(func() { // whatever happened, nothing stays mounted and no reader hangs
		_ = unix.Unmount(n.mnt, unix.MNT_DETACH)
		_ = unix.Unmount(filepath.Join(n.cfg.Root, "fuse"), unix.MNT_FORCE|unix.MNT_DETACH)
	})
	return n
}

// open opens a server in this process.
func (n *node) open() *Server {
	n.t.Helper()
	s, err := Open(n.t.Context(), n.cfg, Options{Force: n.force})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		for _, m := range s.List() {
			if err := s.Unmount(context.Background(), m.ID); err != nil {
				n.t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return s
}

func (n *node) request() client.Request {
	r := client.Request{ID: "one", Bootstrap: n.img.bootstrap, Mountpoint: n.mnt, Registry: "docker.io", Repository: "library/x", Image: "docker.io/library/x:1"}
	for d := range n.img.blobs {
		r.Blobs = append(r.Blobs, d)
	}
	sortDigests(r.Blobs)
	return r
}

func sortDigests(all []digest.Digest) {
	for i := range all {
		for k := i; k > 0 && all[k] < all[k-1]; k-- {
			all[k], all[k-1] = all[k-1], all[k]
		}
	}
}

// check reads every file of the mount.
func (n *node) check() {
	n.t.Helper()
	for name, want := range n.img.files {
		got, err := os.ReadFile(filepath.Join(n.mnt, name))
		if err != nil || !bytes.Equal(got, want) {
			n.t.Fatalf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
}

// process is a mount server in a process of its own; its configuration is in its environment.
func process() error {
	cfg := Default()
	cfg.Socket, cfg.Root, cfg.Darterd = os.Getenv("RAFS_TEST_SOCKET"), os.Getenv("RAFS_TEST_ROOT"), os.Getenv("RAFS_TEST_DARTERD")
	cfg.Fill.Enable, cfg.Cache.Floor = false, 0
	l, err := serve.Unix(cfg.Socket, 0o600)
	if err != nil {
		return err
	}
	o := Options{}
	if os.Getenv("RAFS_TEST_KEEPER") != "" {
		o.Keeper = []string{"/usr/bin/env", "RAFS_TEST_ROLE=keeper", os.Args[0]}
	}
	s, err := Open(context.Background(), cfg, o)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // its end is our end
		stop()
	}()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	err = serve.HTTP(ctx, l, s.Handler(), 0)
	if rerr := <-ran; err == nil {
		err = rerr
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// child is a mount server in a process of its own.
type child struct {
	*exec.Cmd
	stdin io.Closer
}

func (n *node) spawn(keeper bool) (*child, *client.Client) {
	n.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RAFS_TEST_ROLE=server", "RAFS_TEST_SOCKET="+n.cfg.Socket, "RAFS_TEST_ROOT="+n.cfg.Root, "RAFS_TEST_DARTERD="+n.cfg.Darterd)
	if keeper {
		cmd.Env = append(cmd.Env, "RAFS_TEST_KEEPER=1")
	}
	log, err := os.Create(filepath.Join(n.t.TempDir(), "log"))
	if err != nil {
		n.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	_ = log.Close() // the child has it
	c := &child{cmd, stdin}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill() // where it still runs
		_ = cmd.Wait()
		if b, _ := os.ReadFile(log.Name()); n.t.Failed() {
			n.t.Logf("the server said:\n%s", b)
		}
	})
	k := client.New(n.cfg.Socket)
	n.t.Cleanup(k.Close)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := k.Status(n.t.Context()); err == nil {
			return c, k
		}
		if time.Now().After(deadline) {
			n.t.Fatal("the server does not answer")
		}
	}
}

// kill ends the server as SIGKILL does.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
}

// end ends the server in good order.
func (c *child) end(t *testing.T) {
	t.Helper()
	_ = c.stdin.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
