// Package tracker is a node's client of the schedulers. It holds one stream to each,
// comes back when a stream breaks, and tells a scheduler on each connection what the
// node holds and wants of the tasks that live there, so that a scheduler that lost
// everything rebuilds its swarms, and tasks move when a scheduler comes or goes.
package tracker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Config says whom to connect to, and as whom.
type Config struct {
	Addresses []string      // host:port of schedulers, the same on all nodes, in any order; tasks are spread over them; SetAddresses changes them
	Host      p2p.Host      // this node; an Addr without a host (":65002") means the address it connects from
	Version   string        // of this program
	Dial      time.Duration // for one scheduler to answer
	MinWait   time.Duration // before the first new attempt; doubled up to MaxWait, each with jitter
	MaxWait   time.Duration
	Queue     int // messages that may wait to be sent; one more ends the connection
	// Tags lists what the node knows of public tags, the last seen first; it is told on
	// each connection, as far as 256. Nil = nothing.
	Tags func() []p2p.Tag
}

// Default returns a configuration that lacks Addresses and Host.
func Default() Config {
	return Config{
		Dial:    3 * time.Second,
		MinWait: 100 * time.Millisecond,
		MaxWait: 2 * time.Second, // below the scheduler's warm-up, so that it hears of all holders before it sends anybody to an origin
		Queue:   4096,
	}
}

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	if err := checkAddresses(c.Addresses); err != nil {
		return err
	}
	switch {
	case c.Dial <= 0 || c.MinWait <= 0 || c.MaxWait < c.MinWait:
		return fmt.Errorf("dial %v, waits %v to %v: want positive, in order", c.Dial, c.MinWait, c.MaxWait)
	case c.Queue < 1:
		return fmt.Errorf("queue of %d", c.Queue)
	}
	return c.Host.ID.Validate()
}

// Handler takes what the scheduler says. Its methods are called one at a time; until
// one returns, the next message waits.
type Handler interface {
	// Connected says that a scheduler answers, or that none does any more. Without a
	// scheduler a node keeps the neighbours it has.
	Connected(up bool)
	// Neighbours changes whom the node exchanges a task with; remove comes before add.
	// An add of a known neighbour changes what is known of it. A seed may get
	// neighbours of a task that it does not know: it is to take the task for the others.
	Neighbours(task p2p.TaskID, add []p2p.Host, remove []p2p.HostID)
	// Pull tells the node to read from the origin what the swarm lacks of a task, or to stop.
	Pull(p Pull)
	// Relief lets the node read a run of pieces from the origin, beside whoever reads the
	// task: it answers Starved.
	Relief(r Relief)
	// TaskGeometry tells the size of a task, in bytes.
	TaskGeometry(task p2p.TaskID, size int64)
	// TaskFailed says that the swarm cannot give a task now.
	TaskFailed(task p2p.TaskID, why p2p.OriginError)
}

// Pull is the scheduler's order to read a task from its origin.
type Pull struct {
	Task   p2p.TaskID
	Origin p2p.Origin
	Size   int64  // bytes; -1 = not known
	Token  []byte // an encoded trust.Token; empty for a seed
	Stop   bool   // somebody else reads it
	Stripe p2p.Stripe
}

// Relief is the scheduler's leave to read a run of pieces from the origin.
type Relief struct {
	Task         p2p.TaskID
	Origin       p2p.Origin
	Size         int64  // bytes; -1 = not known
	Token        []byte // an encoded trust.Token; empty for a seed
	First, Count p2p.Piece
	Beside       bool // it goes on whatever neighbours hold: they are slow
}

// State is what a client knows of its connection to one scheduler.
type State struct {
	Connected bool
	Address   string    // of the scheduler
	Scheduler string    // the scheduler's name
	Since     time.Time // of Connected or of its loss
	Err       error     // why the last connection or attempt ended
}

// Client talks to the schedulers. Its methods may be called concurrently and do not
// block. What is said while there is no connection is dropped, for the next one
// begins with an announcement: so a task must be among the holdings before it is
// joined, and as it is now before anything is said of it.
type Client struct {
	cfg      Config
	id       *pki.Identity
	holdings func() []p2p.Holding
	handler  Handler
	running  sync.WaitGroup // of connections
	moves    sync.WaitGroup
	said     sync.Mutex // held while the handler is told something

	mu         sync.Mutex      // of the schedulers, too; no other lock is taken under it
	life       context.Context // of Run; nil before and after
	schedulers []*scheduler
	leaving    []*scheduler // no longer named, their streams not ended yet
	connected  bool         // as the handler was told
	known      bool         // every scheduler was tried
}

// scheduler is one of them.
type scheduler struct {
	c     *Client
	addr  string
	state State
	link  *link              // nil without a connection
	tried bool               // there is or was a connection, or an attempt failed
	stop  context.CancelFunc // ends run
	stay  context.CancelFunc // ends the wait of leaveLocked
}

func newScheduler(c *Client, addr string) *scheduler {
	return &scheduler{c: c, addr: addr, state: State{Address: addr}}
}

// New returns a client. The function holdings lists what the node holds and wants;
// it is called on each connection, while messages may be queued already.
func New(cfg Config, id *pki.Identity, holdings func() []p2p.Holding, h Handler) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("tracker: %w", err)
	}
	c := &Client{cfg: cfg, id: id, holdings: holdings, handler: h}
	for _, addr := range cfg.Addresses {
		c.schedulers = append(c.schedulers, newScheduler(c, addr))
	}
	return c, nil
}

// Run keeps the connections until ctx ends; then it says goodbye and returns nil.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	c.life = ctx
	for _, s := range c.schedulers {
		c.startLocked(s)
	}
	c.mu.Unlock()
	<-ctx.Done()
	c.mu.Lock()
	c.life = nil // nothing starts any more
	c.mu.Unlock()
	c.running.Wait()
	c.moves.Wait()
	return nil
}

// run keeps the connection to one scheduler until ctx ends.
func (s *scheduler) run(ctx context.Context) {
	wait := backoff{min: s.c.cfg.MinWait, max: s.c.cfg.MaxWait}
	for {
		began := time.Now()
		answered, err := s.connect(ctx)
		s.note(err)
		if ctx.Err() != nil {
			return
		}
		if answered && time.Since(began) > s.c.cfg.MaxWait {
			wait.reset()
		}
		wait.sleep(ctx)
		if ctx.Err() != nil {
			return
		}
	}
}

// note says why there is no connection.
func (s *scheduler) note(err error) {
	s.c.mu.Lock()
	s.state.Err = err
	first := !s.tried
	s.tried = true
	s.c.mu.Unlock()
	if first {
		s.c.moveAway(s)
		s.c.tellState()
	}
}

// States returns the state of the connection to each scheduler.
func (c *Client) States() []State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []State
	for _, s := range c.schedulers {
		all = append(all, s.state)
	}
	return all
}

// Join says that the node wants a task whole; size -1 = not known, origin "" = only from peers.
func (c *Client) Join(task p2p.TaskID, origin p2p.Origin, size int64) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Join{
		Join: &schedulerv1.Join{Task: task.String(), Origin: sayable(origin), Size: size},
	}})
}

// sayable returns an origin as a scheduler takes it, or none: one message that it
// refuses would end every connection, for it is announced on each.
func sayable(o p2p.Origin) string {
	const most = 4096 // bytes
	if len(o) > most || !utf8.ValidString(string(o)) || strings.ContainsFunc(string(o), func(r rune) bool {
		return unicode.IsControl(r) || r == utf8.RuneError
	}) {
		return ""
	}
	return string(o)
}

// Leave says that the node neither holds nor wants a task any more.
func (c *Client) Leave(task p2p.TaskID) {
	c.say(task, leave(task))
}

func leave(task p2p.TaskID) *schedulerv1.ConnectRequest {
	return &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Leave{
		Leave: &schedulerv1.Leave{Task: task.String()},
	}}
}

// Done says that the node holds a task whole.
func (c *Client) Done(task p2p.TaskID) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Done{
		Done: &schedulerv1.Done{Task: task.String()},
	}})
}

// maxLost is the number of hosts that one message may call lost.
const maxLost = 256

// NeighbourLost asks for others in the place of neighbours that do not serve.
func (c *Client) NeighbourLost(task p2p.TaskID, lost []p2p.HostID) {
	m := &schedulerv1.NeighbourLost{Task: task.String()}
	for _, id := range lost[:min(len(lost), maxLost)] {
		m.Hosts = append(m.Hosts, string(id))
	}
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_NeighbourLost{NeighbourLost: m}})
}

// PullStarted says that the origin's first bytes are there; size -1 = it did not say.
func (c *Client) PullStarted(task p2p.TaskID, size int64) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullStarted{
		PullStarted: &schedulerv1.PullStarted{Task: task.String(), Size: size},
	}})
}

// PullFailed says that the origin did not give a task.
func (c *Client) PullFailed(task p2p.TaskID, why p2p.OriginError) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullFailed{
		PullFailed: &schedulerv1.PullFailed{Task: task.String(), Error: &schedulerv1.OriginError{
			Status: int32(why.Status), Message: why.Message, Wrong: why.Wrong, Keyless: why.Keyless,
			RetryAfterSeconds: int64((why.RetryAfter + time.Second - 1) / time.Second), Origin: sayable(why.Origin),
		}},
	}})
}

// PullDone says that the node has read a task whole and its digest matched.
func (c *Client) PullDone(task p2p.TaskID) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullDone{
		PullDone: &schedulerv1.PullDone{Task: task.String()},
	}})
}

// Starved says that a reader waits for pieces that nobody sends, first of all for one; slow
// = they come, but a small part of what the origin is known to give.
func (c *Client) Starved(task p2p.TaskID, first p2p.Piece, urgent, slow bool) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Starved{
		Starved: &schedulerv1.Starved{Task: task.String(), First: uint32(first), Urgent: urgent, Slow: slow},
	}})
}

// Relieved says that a Relief has ended, how many pieces the node read, and whether no
// neighbour came to hold one of them meanwhile.
func (c *Client) Relieved(task p2p.TaskID, pieces int, alone bool) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Relieved{
		Relieved: &schedulerv1.Relieved{Task: task.String(), Pieces: uint32(pieces), Alone: alone},
	}})
}

// BadPeer reports a host that sent bytes or digests that do not verify.
func (c *Client) BadPeer(task p2p.TaskID, host p2p.HostID, reason string) {
	c.say(task, &schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_BadPeer{
		BadPeer: &schedulerv1.BadPeer{Task: task.String(), Host: string(host), Reason: reason},
	}})
}

// say queues a message for the scheduler at which the task lives.
func (c *Client) say(task p2p.TaskID, m *schedulerv1.ConnectRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.homeLocked(task); s != nil && s.link != nil {
		s.link.say(m)
	}
}
