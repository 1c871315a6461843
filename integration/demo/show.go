package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/rootfs"
)

const (
	nodes = 3
	// doors is how many nodes have the snapshot door; the others pull through the mirror.
	// It fetches no more layers at a time than it unpacks, so those at the mirror lead on
	// a machine with few CPUs: two of them have each other to get the bytes from.
	doors    = 1
	linkRate = lab.Gbit
)

// show sets the stage, lets all nodes pull, and reports.
func show(ctx context.Context, l *lab.Lab, out *os.File) (Report, error) {
	fmt.Fprintf(out, "stage: registry, manager, scheduler, seed and %d nodes, links of %s\n", nodes, linkRate)
	system, err := l.StartSystem(ctx, lab.SystemOptions{Nodes: nodes, Link: lab.Both(linkRate), Door: true, Manager: true})
	if err != nil {
		return Report{}, err
	}
	for i, node := range system.Nodes {
		if i >= doors {
			node.Snapshotter = "" // containerd's own overlayfs, and the mirror before the registry
		}
		fmt.Fprintf(out, "%s: %s\n", node.Containerd.Host.Name, doorOf(node).says)
	}
	image, err := pushImage(ctx, system.Registry, os.Getenv("IMAGE"), out)
	if err != nil {
		return Report{}, err
	}
	fmt.Fprintf(out, "pull: %s, %d layers, %s MiB, on all nodes at once with ctr\n\n", image.Ref, image.Layers, mebibytes(image.Bytes))

	before, err := sent(system)
	if err != nil {
		return Report{}, err
	}
	pulls := pullAndWatch(ctx, system, image, out)
	after, err := sent(system)
	if err != nil {
		return Report{}, err
	}
	var failed error
	for _, pulled := range pulls {
		failed = errors.Join(failed, pulled.Err)
	}
	if failed != nil {
		return Report{}, failed
	}
	r, err := report(ctx, system, image, pulls, interfaces{after.registry - before.registry, after.seed - before.seed}, out)
	if err != nil {
		return Report{}, err
	}
	if r.Lazy, err = startLazily(ctx, system, image, out); err != nil {
		return Report{}, err
	}
	r.Preheat, err = preheat(ctx, system, out)
	return r, err
}

// door is a way into darter.
type door struct{ name, says string }

var (
	snapshotDoor = door{"snapshot", "the snapshot door: darterd unpacks layers while they arrive, containerd fetches none"}
	mirrorDoor   = door{"mirror", "the registry mirror: containerd fetches layers from darterd and unpacks them"}
)

// doorOf is the door that a node pulls through.
func doorOf(node *lab.Node) door {
	if node.Snapshotter == lab.Door {
		return snapshotDoor
	}
	return mirrorDoor
}

// interfaces is what the registry and the seed sent, in bytes of their own interfaces.
type interfaces struct{ registry, seed int64 }

func sent(system *lab.System) (interfaces, error) {
	registry, err := system.Registry.Host.TxBytes()
	if err != nil {
		return interfaces{}, err
	}
	seed, err := system.Seed.Host.TxBytes()
	return interfaces{registry, seed}, err
}

// pullAndWatch lets all nodes pull and shows every second who has what from whom.
func pullAndWatch(ctx context.Context, system *lab.System, image lab.Image, out *os.File) []lab.Pulled {
	watched := &watch{system: system, image: image, states: map[string]string{}}
	s := screen{out: out, terminal: isTerminal(out)}
	start := time.Now()
	done := make(chan []lab.Pulled, 1)
	go func() { done <- system.PullAll(ctx, lab.Ctr, image.Ref, watched.ended) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case pulls := <-done:
			rows := watched.rows(ctx)
			s.show(time.Since(start), watched.senders(), rows, image.Bytes)
			if !s.terminal {
				fmt.Fprintln(out)
				for _, line := range formatTable(watched.senders(), rows, image.Bytes) {
					fmt.Fprintln(out, line)
				}
			}
			fmt.Fprintln(out)
			return pulls
		case <-tick.C:
			s.show(time.Since(start), watched.senders(), watched.rows(ctx), image.Bytes)
		}
	}
}

// watch asks every darterd what it has.
type watch struct {
	system *lab.System
	image  lab.Image

	mu     sync.Mutex
	states map[string]string // of the nodes whose pull has ended
}

func (w *watch) ended(p lab.Pulled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[p.Node.Host.Name] = fmt.Sprintf("done, %.1f s", p.Took.Seconds())
	if p.Err != nil {
		w.states[p.Node.Host.Name] = "failed"
	}
}

// senders are the columns: who can send.
func (w *watch) senders() []string {
	all := []string{registryColumn, w.system.Seed.Host.Name}
	for _, node := range w.system.Nodes {
		all = append(all, node.Host.Name)
	}
	return all
}

// rows asks all hosts at this moment.
func (w *watch) rows(ctx context.Context) []row {
	rows := []row{{host: w.system.Seed.Host.Name, from: received(ctx, w.system.Seed, w.image)}}
	for _, node := range w.system.Nodes {
		rows = append(rows, row{host: node.Host.Name, from: received(ctx, node.Darterd, w.image), state: "pulling"})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range rows {
		if state, ok := w.states[rows[i].host]; ok {
			rows[i].state = state
		}
	}
	return rows
}

// received asks one darterd from whom it has the parts of the image. What it
// does not know yet counts as nothing.
func received(ctx context.Context, d *lab.Darterd, image lab.Image) map[string]int64 {
	from := map[string]int64{}
	for _, blob := range image.Blobs {
		explanation, err := d.Explain(ctx, blob.Digest.String())
		if err != nil {
			continue
		}
		for _, task := range explanation.Tasks {
			from[registryColumn] += task.Bytes.FromOrigin
			for _, neighbour := range task.Neighbours {
				from[neighbour.Host] += neighbour.Bytes
			}
		}
	}
	return from
}

// rootfsOf reads the whole root file system that a node's containerd has of the image.
func rootfsOf(ctx context.Context, node *lab.Node, image lab.Image) (rootfs.Tree, error) {
	snapshotter := "overlayfs"
	if node.Snapshotter != "" {
		snapshotter = node.Snapshotter
	}
	return node.Rootfs(ctx, lab.Ctr, snapshotter, image.Ref)
}

// verify reads the image back out of a node's containerd: by the snapshot door the
// files, for containerd has no layers; by the mirror the blobs.
func verify(ctx context.Context, node *lab.Node, image lab.Image, right rootfs.Tree) error {
	if doorOf(node) == mirrorDoor {
		return node.Verify(ctx, lab.Ctr, image)
	}
	got, err := rootfsOf(ctx, node, image)
	if err != nil {
		return err
	}
	return rootfs.Compare(got, right)
}

// report sums up, after it read the image back out of every node's containerd.
func report(ctx context.Context, system *lab.System, image lab.Image, pulls []lab.Pulled, sent interfaces, out io.Writer) (Report, error) {
	r := Report{
		ImageBytes: image.Bytes, OriginBytes: sent.registry,
		OriginRatio: float64(sent.registry) / float64(image.Bytes),
		SeedCopies:  float64(sent.seed) / float64(image.Bytes),
	}
	fmt.Fprintln(out, "compare: every blob of the mirror's nodes with its digest; every file of the snapshot door's with such a node's")
	right, err := rootfsOf(ctx, pulls[len(pulls)-1].Node, image)
	if err != nil {
		return Report{}, err
	}
	for _, pulled := range pulls {
		status, err := pulled.Node.Darterd.Status(ctx)
		if err != nil {
			return Report{}, err
		}
		wrong := verify(ctx, pulled.Node, image, right)
		if wrong != nil {
			fmt.Fprintf(out, "%s: wrong content: %v\n", pulled.Node.Host.Name, wrong)
		}
		r.Nodes = append(r.Nodes, NodeReport{
			Name: pulled.Node.Host.Name, Door: doorOf(pulled.Node).name, Seconds: pulled.Took.Seconds(), DigestOK: wrong == nil,
			FromPeers: status.Bytes.FromPeers, FromSeed: status.Bytes.FromSeed, FromOrigin: status.Bytes.FromOrigin,
		})
	}
	fmt.Fprintf(out, "image %d bytes; the registry sent %d, that is %.4f images (goal ≤ %.2f); the seed sent %.2f images (goal ≤ %.1f)\n",
		r.ImageBytes, r.OriginBytes, r.OriginRatio, maxOriginRatio, r.SeedCopies, maxSeedCopies)
	for _, n := range r.Nodes {
		fmt.Fprintf(out, "%s (%s): %.1f s, %.2f of the image from other nodes (goal ≥ %.1f), %.2f from the seed, %.2f from the registry, content right: %t\n",
			n.Name, n.Door, n.Seconds, share(n.FromPeers, r), minPeerShare, share(n.FromSeed, r), share(n.FromOrigin, r), n.DigestOK)
	}
	return r, nil
}

func share(n int64, r Report) float64 { return float64(n) / float64(r.ImageBytes) }

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
