package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/snapshot/ahead"
)

// stager runs what the queue decides: it reads images, and stages their layers. Its
// methods may be called concurrently.
type stager struct {
	lib      *library
	unpacker Unpacker
	shelf    *shelf
	lazy     *lazy
	patience time.Duration // for an image's manifest and config
	prefers  func(*imageName) bool

	life context.Context // of all it runs
	end  context.CancelCauseFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	queue   *ahead.Queue
	changed chan struct{} // closed and replaced when the queue may answer otherwise
	pulls   map[ahead.Pull]*reading
	jobs    map[digest.Digest]*job
}

// reading is an image whose manifest and config are being read, or were.
type reading struct {
	done  chan struct{}
	image *image
	err   error
}

// job is a layer that is being staged, or is.
type job struct {
	cancel context.CancelFunc
	result *staged // set when it is done and well
}

var errStopped = errors.New("darterd stops")

func newStager(lib *library, u Unpacker, s *shelf, z *lazy, cfg Config) *stager {
	g := &stager{
		lib: lib, unpacker: u, shelf: s, lazy: z, patience: cfg.PrepareTimeout.Duration(), prefers: cfg.prefers,
		queue: ahead.New(cfg.parallel(), cfg.KeepStaged.Duration()), changed: make(chan struct{}),
		pulls: map[ahead.Pull]*reading{}, jobs: map[digest.Digest]*job{},
	}
	g.life, g.end = context.WithCancelCause(context.Background())
	g.wg.Go(func() { z.recover(g.life) })
	g.wg.Go(func() { g.expire(max(cfg.KeepStaged.Duration()/4, time.Second)) })
	return g
}

// stop ends waiting and staging; calls under way return, new ones fail.
func (g *stager) stop() { g.end(errStopped) }

// close stops and waits.
func (g *stager) close() {
	g.stop()
	g.wg.Wait()
}

// pullOf names an image's pull.
func pullOf(n *imageName) ahead.Pull {
	return ahead.Pull(n.registry + "/" + n.repository + "@" + n.manifest.String())
}

// enter says that containerd asks for a layer, and reports whether the pull has fallen
// below it. One leave follows.
func (g *stager) enter(r *request) (fallen bool) {
	g.tell(func(q *ahead.Queue) { fallen = q.Enter(pullOf(r.image), r.chain, r.parent, time.Now()) })
	return fallen
}

// leave ends what enter began.
func (g *stager) leave(r *request, served bool) {
	g.tell(func(q *ahead.Queue) { q.Leave(pullOf(r.image), r.chain, served, time.Now()) })
}

// take waits for a layer that was entered and has not fallen, and hands it over; placed
// follows. The layers above it are started, too.
func (g *stager) take(ctx context.Context, r *request) (*staged, error) {
	m, err := g.image(ctx, r.image)
	if err != nil {
		return nil, err
	}
	l, err := m.find(r)
	if err != nil {
		return nil, because(badLabels, err)
	}
	if l.role != ordinary {
		if err := g.lazy.ready(ctx); err != nil {
			return nil, because(notLazy, err)
		}
	}
	if !l.supported() {
		return nil, because(unsupported, fmt.Errorf("layer of type %q", l.blob.MediaType))
	}
	g.tell(func(q *ahead.Queue) { q.Plan(pullOf(r.image), m.from(l.index)) })
	for {
		g.mu.Lock()
		changed := g.changed
		g.mu.Unlock()
		got, err := g.takeReady(r)
		switch {
		case got != nil && got.stood && m.alt == nil: // it was staged when the Nydus image could be used
			g.placed(r.chain, got, false)
			g.tell(func(q *ahead.Queue) { q.Plan(pullOf(r.image), m.from(l.index)) })
			continue
		case got != nil || err != nil:
			return got, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-g.life.Done():
			return nil, because(stopped, context.Cause(g.life))
		}
	}
}

// takeReady hands over a layer that was entered; placed follows. Where there is none it
// returns why, or neither while it is on its way.
func (g *stager) takeReady(r *request) (*staged, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch answer, err := g.queue.Ask(pullOf(r.image), r.chain); answer {
	case ahead.Ready:
		j := g.jobs[r.chain]
		delete(g.jobs, r.chain)
		return j.result, nil
	case ahead.Failed:
		return nil, err
	case ahead.Missing:
		return nil, errTaken
	case ahead.Wait:
	}
	return nil, nil //nolint:nilnil // on its way
}

// errTaken says that somebody else took the layer, or it was never planned.
var errTaken = fmt.Errorf("taken by another pull: %w", errdefs.ErrAborted)

// placed says that a layer which take returned is a snapshot, or its directory is not needed.
func (g *stager) placed(chain digest.Digest, got *staged, well bool) {
	g.tell(func(q *ahead.Queue) { q.Placed(chain) })
	if !well {
		g.remove(got.dir)
	}
}

// tell tells the queue of an event and does what it asks for.
func (g *stager) tell(event func(q *ahead.Queue)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	event(g.queue)
	e := g.queue.Effects()
	for _, c := range e.Stop {
		g.jobs[c].cancel()
	}
	for _, c := range e.Drop {
		g.remove(g.jobs[c].result.dir)
		delete(g.jobs, c)
	}
	for _, p := range e.Forget {
		if r := g.pulls[p]; r != nil && r.image != nil && r.image.alt != nil {
			g.remove(r.image.alt.dir)
		}
		delete(g.pulls, p)
	}
	for _, j := range e.Start {
		g.startLocked(j)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// startLocked starts a job. Its pull's image was read, for it planned the layer.
func (g *stager) startLocked(what ahead.Job) {
	ctx, cancel := context.WithCancel(g.life)
	j := &job{cancel: cancel}
	g.jobs[what.Chain] = j
	m := g.pulls[what.Pull].image
	g.wg.Go(func() {
		defer cancel()
		result, err := g.stage(ctx, m, what.Chain)
		g.tell(func(q *ahead.Queue) {
			if j.result = result; err != nil {
				delete(g.jobs, what.Chain)
			}
			q.Done(what.Chain, err)
		})
	})
}

// stage stages one layer into a directory of its own.
func (g *stager) stage(ctx context.Context, m *image, chain digest.Digest) (*staged, error) {
	dir, err := g.shelf.newDir(chain)
	if err != nil {
		return nil, stagingFault(fmt.Errorf("make directory: %w", err))
	}
	got, err := stage(ctx, g.lib, g.unpacker, m, m.layer(chain), dir)
	if err != nil {
		g.removeNow(dir)
		return nil, err
	}
	return got, nil
}

// image returns an image that is read once for all who ask at a time. The reading goes
// on when they leave.
func (g *stager) image(ctx context.Context, n *imageName) (*image, error) {
	p := pullOf(n)
	g.mu.Lock()
	r := g.pulls[p]
	if r == nil {
		r = &reading{done: make(chan struct{})}
		g.pulls[p] = r
		g.wg.Go(func() { g.read(r, p, n) })
	}
	g.mu.Unlock()
	select {
	case <-r.done:
		if r.err != nil || r.image.alt == nil {
			return r.image, r.err
		}
		return g.still(ctx, p, r), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-g.life.Done():
		return nil, because(stopped, context.Cause(g.life))
	}
}

// still returns an image as it was read; without its Nydus image where this node cannot
// mount that any more.
func (g *stager) still(ctx context.Context, p ahead.Pull, r *reading) *image {
	err := g.lazy.ready(ctx)
	if err == nil || ctx.Err() != nil {
		return r.image
	}
	log.G(ctx).WithField("image", r.image.name.ref).WithError(err).Warn("the Nydus image beside it cannot be used any more: the ordinary one is")
	plain := *r.image
	plain.alt = nil
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pulls[p] == r {
		g.pulls[p] = &reading{done: r.done, image: &plain}
		g.remove(r.image.alt.dir)
	}
	return &plain
}

// read reads an image; a failure is not remembered.
func (g *stager) read(r *reading, p ahead.Pull, n *imageName) {
	ctx, cancel := context.WithTimeout(g.life, g.patience)
	defer cancel()
	m, err := g.lib.image(ctx, n)
	if err == nil {
		m.alt = g.alternative(ctx, m)
	}
	r.image, r.err = m, err
	g.mu.Lock()
	switch {
	case g.pulls[p] != r: // the pull is forgotten
		if m != nil && m.alt != nil {
			g.remove(m.alt.dir)
		}
	case err != nil:
		delete(g.pulls, p)
	}
	g.mu.Unlock()
	close(r.done)
}

// alternative returns the Nydus image that is to stand for an ordinary one; nil where
// there is none, or it cannot be used: then the image is served as any other.
func (g *stager) alternative(ctx context.Context, m *image) *alternative {
	if !g.prefers(m.name) || slices.ContainsFunc(m.layers, func(l imageLayer) bool { return l.role != ordinary || !l.supported() }) {
		return nil
	}
	entry := log.G(ctx).WithFields(log.Fields{"image": m.name.ref, "manifest": m.name.manifest})
	ctx, cancel := context.WithTimeout(ctx, g.patience/2)
	defer cancel()
	err := g.lazy.ready(ctx)
	if err == nil {
		var dir string
		if dir, err = g.shelf.newDir(m.name.manifest); err == nil {
			var a *alternative
			if a, err = g.lib.alternative(ctx, g.unpacker, m, dir); err == nil {
				entry.Info("the Nydus image beside it is used")
				return a
			}
			g.removeNow(dir)
		}
	}
	if errors.Is(err, errNoAlternative) {
		entry.Debug("it has no Nydus image beside it")
	} else {
		entry.WithError(err).Warn("the Nydus image beside it cannot be used: the ordinary one is")
	}
	return nil
}

// expire drops what nobody came back for, now and then.
func (g *stager) expire(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			g.tell(func(q *ahead.Queue) { q.Expire(now) })
		case <-g.life.Done():
			return
		}
	}
}

// remove removes a directory beside the caller, who may hold the lock.
func (g *stager) remove(dir string) { g.wg.Go(func() { g.removeNow(dir) }) }

func (g *stager) removeNow(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		log.L.WithField("dir", dir).WithError(err).Warn("remove staged layer; the next start does")
	}
}
