// Package tracker is a node's client of the scheduler. It holds one stream to the
// first scheduler that answers, comes back when the stream breaks, and tells the
// scheduler on each connection what the node holds and wants, so that a scheduler
// that lost everything rebuilds its swarms.
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
	Addresses []string      // host:port of schedulers; the first that answers is used
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
	switch {
	case len(c.Addresses) == 0:
		return fmt.Errorf("no scheduler address")
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
	// Connected says that the scheduler answers, or no longer does. Without a
	// scheduler a node keeps the neighbours it has.
	Connected(up bool)
	// Neighbours changes whom the node exchanges a task with; remove comes before add.
	// An add of a known neighbour changes what is known of it. A seed may get
	// neighbours of a task that it does not know: it is to take the task for the others.
	Neighbours(task p2p.TaskID, add []p2p.Host, remove []p2p.HostID)
	// Pull tells the node to read from the origin what the swarm lacks of a task, or to stop.
	Pull(p Pull)
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
}

// State is what a client knows of its connection.
type State struct {
	Connected bool
	Address   string    // of the scheduler that it is connected to, or tried last
	Scheduler string    // the scheduler's name
	Since     time.Time // of Connected or of its loss
	Err       error     // why the last connection or attempt ended
}

// Client talks to the scheduler. Its methods may be called concurrently and do not
// block. What is said while there is no connection is dropped, for the next one
// begins with an announcement: so a task must be among the holdings before it is
// joined, and as it is now before anything is said of it.
type Client struct {
	cfg      Config
	id       *pki.Identity
	holdings func() []p2p.Holding
	handler  Handler

	mu    sync.Mutex
	state State
	link  *link // nil without a connection
}

// New returns a client. The function holdings lists what the node holds and wants;
// it is called on each connection, while messages may be queued already.
func New(cfg Config, id *pki.Identity, holdings func() []p2p.Holding, h Handler) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("tracker: %w", err)
	}
	return &Client{cfg: cfg, id: id, holdings: holdings, handler: h}, nil
}

// Run keeps the connection until ctx ends; then it says goodbye and returns nil.
func (c *Client) Run(ctx context.Context) error {
	wait := backoff{min: c.cfg.MinWait, max: c.cfg.MaxWait}
	for {
		for _, addr := range c.cfg.Addresses {
			began := time.Now()
			answered, err := c.connect(ctx, addr)
			c.note(addr, err)
			if stopped(ctx) {
				return nil
			}
			if answered { // begin again with the first address, where the others are
				if time.Since(began) > c.cfg.MaxWait {
					wait.reset()
				}
				break
			}
		}
		wait.sleep(ctx)
		if stopped(ctx) {
			return nil
		}
	}
}

func stopped(ctx context.Context) bool { return ctx.Err() != nil }

// State returns the state of the connection.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *Client) note(addr string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Address, c.state.Err = addr, err
}

// Join says that the node wants a task whole; size -1 = not known, origin "" = only from peers.
func (c *Client) Join(task p2p.TaskID, origin p2p.Origin, size int64) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Join{
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
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Leave{
		Leave: &schedulerv1.Leave{Task: task.String()},
	}})
}

// Done says that the node holds a task whole.
func (c *Client) Done(task p2p.TaskID) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_Done{
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
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_NeighbourLost{NeighbourLost: m}})
}

// PullStarted says that the origin's first bytes are there; size -1 = it did not say.
func (c *Client) PullStarted(task p2p.TaskID, size int64) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullStarted{
		PullStarted: &schedulerv1.PullStarted{Task: task.String(), Size: size},
	}})
}

// PullFailed says that the origin did not give a task.
func (c *Client) PullFailed(task p2p.TaskID, why p2p.OriginError) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullFailed{
		PullFailed: &schedulerv1.PullFailed{Task: task.String(), Error: &schedulerv1.OriginError{
			Status: int32(why.Status), Message: why.Message, Wrong: why.Wrong,
			RetryAfterSeconds: int64((why.RetryAfter + time.Second - 1) / time.Second),
		}},
	}})
}

// PullDone says that the node has read a task whole and its digest matched.
func (c *Client) PullDone(task p2p.TaskID) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_PullDone{
		PullDone: &schedulerv1.PullDone{Task: task.String()},
	}})
}

// BadPeer reports a host that sent bytes or digests that do not verify.
func (c *Client) BadPeer(task p2p.TaskID, host p2p.HostID, reason string) {
	c.say(&schedulerv1.ConnectRequest{Message: &schedulerv1.ConnectRequest_BadPeer{
		BadPeer: &schedulerv1.BadPeer{Task: task.String(), Host: string(host), Reason: reason},
	}})
}

// say queues a message for the connection there is.
func (c *Client) say(m *schedulerv1.ConnectRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.say(m)
	}
}
