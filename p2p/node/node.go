package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/exchange"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/p2p/trust"
	"github.com/darter-p2p/darter/p2p/upload"
)

// Exchange is what a node needs of the wire. *exchange.Exchange is one.
type Exchange interface {
	Connect(ctx context.Context, h p2p.Host) (exchange.Link, error)
	OpenStream(ctx context.Context, h p2p.Host) (exchange.Stream, error)
}

// Tracker is what a node tells its schedulers. Methods return at once; what is said
// while no scheduler is there is told again by Holdings when one is.
type Tracker interface {
	Join(task p2p.TaskID, origin p2p.Origin, size int64)
	Leave(task p2p.TaskID)
	Done(task p2p.TaskID)
	NeighbourLost(task p2p.TaskID, hosts []p2p.HostID)
	PullStarted(task p2p.TaskID, size int64)
	PullFailed(task p2p.TaskID, err p2p.OriginError)
	PullDone(task p2p.TaskID)
	BadPeer(task p2p.TaskID, host p2p.HostID, reason string)
	Starved(task p2p.TaskID, first p2p.Piece, urgent, slow bool)
	Relieved(task p2p.TaskID, pieces int, alone bool)
}

// Security signs what this host says of content, and checks what others say.
type Security interface {
	// Signer returns a signer in this host's name; token is the scheduler's, nil for a seed.
	Signer(token []byte) (*trust.Signer, error)
	trust.Members
}

// Node is a host's part in the piece network. Its methods may be called concurrently.
type Node struct {
	cfg      Config
	self     p2p.HostID
	store    store.Store
	passing  *store.Memory // pieces of tasks that cannot be stored
	origins  Origins
	security Security
	verifier *trust.Verifier
	exchange Exchange
	tracker  Tracker
	events   Events

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	work chan struct{} // wakes Run

	mu        sync.Mutex
	closed    bool
	core      *download.Core
	slots     *upload.Slots
	tasks     map[p2p.TaskID]*task
	lines     []*task      // those with requests for fresh pieces, in the order of the first
	given     upload.Given // in those
	hosts     map[p2p.HostID]*host
	past      *history
	rates     baselines
	fed       fed
	readerID  download.ReaderID
	partID    uint32             // of the last request for a part
	lendings  uint64             // credentials lent so far
	untold    map[*task]struct{} // with haves that were not sent yet, to all who lack them
	flushing  bool
	flushed   time.Time // when haves left last
	looking   bool      // Run calls lookAgain soon
	scheduler struct {
		connected bool
		since     time.Time     // of that state
		changed   chan struct{} // closed at the next change
	}
}

// New returns a node that takes part in nothing yet. Bind and Run come next.
func New(cfg Config, self p2p.HostID, st store.Store, origins Origins, sec Security, ev Events) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := self.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, self: self, store: st, passing: store.NewMemory(0), origins: origins, security: sec,
		verifier: trust.NewVerifier(sec), events: ev.orNothing(),
		core:  download.New(cfg.Download, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
		slots: upload.NewSlots(cfg.Upload),
		tasks: map[p2p.TaskID]*task{}, hosts: map[p2p.HostID]*host{}, past: newHistory(),
		work: make(chan struct{}, 1), looking: true, given: upload.Given{}, untold: map[*task]struct{}{}, rates: baselines{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.scheduler.since, n.scheduler.changed = time.Now(), make(chan struct{})
	return n, nil
}

// Bind gives the node its wire and its schedulers, both of which need the node first.
func (n *Node) Bind(x Exchange, t Tracker) { n.exchange, n.tracker = x, t }

// pollEvery is how often late answers are looked for.
const pollEvery = 25 * time.Millisecond

// Run keeps the node's time until ctx ends; then it stops every download and reader
// and waits for them.
func (n *Node) Run(ctx context.Context) error {
	poll, sweep := time.NewTimer(pollEvery), time.NewTicker(n.cfg.IdleAfter/4)
	defer poll.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			n.stop()
			return nil
		case <-n.work:
			poll.Reset(pollEvery)
		case <-poll.C:
			if n.lookAgain() {
				poll.Reset(pollEvery)
			}
		case <-sweep.C:
			n.sweep()
		}
	}
}

// lookAgain looks for late answers, and reports whether it should be called once more
// after pollEvery. Where not, lookLocked wakes Run when there is something again: an idle
// host sleeps.
func (n *Node) lookAgain() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.core.Outstanding() > 0 || n.core.Hungry() {
		n.pollLocked()
	}
	n.flushRestLocked()
	n.looking = n.core.Active()
	return n.looking
}

// lookLocked has lookAgain called soon if there is something to look for.
func (n *Node) lookLocked() {
	if n.looking || !n.core.Active() {
		return
	}
	n.looking = true
	select {
	case n.work <- struct{}{}:
	default: // the last word was not read yet
	}
}

// errStopping is what readers get when the node stops.
var errStopping = errors.New("darterd is stopping")

func (n *Node) stop() {
	n.mu.Lock()
	n.closed = true
	for _, t := range n.tasks {
		n.failLocked(t, errStopping)
	}
	n.mu.Unlock()
	n.cancel()
	n.wg.Wait()
}

// goLocked runs f in a goroutine that stop waits for.
func (n *Node) goLocked(f func()) {
	if !n.closed {
		n.wg.Go(f)
	}
}

// pollLocked carries out what the downloads want now.
func (n *Node) pollLocked() {
	if n.closed {
		return
	}
	n.lookLocked()
	out := n.core.Poll(time.Now())
	for _, id := range out.Abandon {
		n.abandonLocked(id)
	}
	for _, a := range out.Asks {
		n.askLocked(a)
	}
	for _, id := range out.Finished {
		if t := n.tasks[id]; t != nil {
			n.finishedLocked(t)
		}
	}
}
