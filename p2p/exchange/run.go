package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/p2p"
)

// Exchange is a host's end of the piece network: it lets peers in, keeps at most
// one link to each, and serves and opens data connections beside them. Methods may
// be called concurrently.
type Exchange struct {
	cfg       Config
	self      p2p.HostID
	transport Transport
	handler   Handler
	listener  net.Listener
	buffers   bufferPool

	ctx  context.Context // ends when Run ends
	stop context.CancelFunc
	wg   sync.WaitGroup // every goroutine but Run's caller

	mu       sync.Mutex
	stopping bool
	peers    map[p2p.HostID]*peer
	epoch    uint64
	arriving int // connections that are not let in yet
}

// maxArriving is how many connections may be in their handshake at a time; more are closed.
const maxArriving = 1024

// New returns an Exchange that listens at cfg.Listen. It accepts nobody before Run,
// and Run must be called, if only with an ended context, to free what it holds.
func New(cfg Config, t Transport, h Handler) (*Exchange, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	self := cfg.Identity.Host()
	if err := self.Validate(); err != nil {
		return nil, fmt.Errorf("exchange identity: %w", err)
	}
	if err := requireMutual(cfg.Identity); err != nil {
		return nil, err
	}
	l, err := t.Listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("exchange listen: %w", err)
	}
	x := &Exchange{
		cfg: cfg, self: self, transport: t, handler: h, listener: l,
		peers: map[p2p.HostID]*peer{},
		// A later life of this host counts on from a higher number.
		epoch: uint64(time.Now().UnixNano()),
	}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x, nil
}

// Addr returns the address that is listened at.
func (x *Exchange) Addr() net.Addr { return x.listener.Addr() }

// Run lets peers in until ctx ends or listening fails. Then it accepts no more,
// ends what is in its handshake, closes the links in the order of their hosts, and
// returns when every Disconnected was called and every goroutine has ended. The
// error is nil after a regular end.
func (x *Exchange) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() { x.listener.Close() })
	defer unhook()
	err := x.accept(ctx)
	x.listener.Close()

	x.mu.Lock()
	x.stopping = true
	var links []*link
	for _, p := range x.peers {
		if p.live != nil {
			links = append(links, p.live)
		}
	}
	x.mu.Unlock()
	x.stop()
	slices.SortFunc(links, func(a, b *link) int { return strings.Compare(string(a.host), string(b.host)) })
	for _, l := range links {
		l.Close()
	}
	x.wg.Wait()
	return err
}

// spawn runs f in a goroutine that Run waits for, unless Run has ended.
func (x *Exchange) spawn(f func()) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopping {
		return false
	}
	x.wg.Go(f)
	return true
}

func (x *Exchange) accept(ctx context.Context) error {
	const longest = time.Second
	pause := time.Duration(0)
	for {
		conn, err := x.listener.Accept()
		switch {
		case err == nil:
			pause = 0
			x.admit(conn)
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the listener was closed because ctx ended
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("exchange accept: %w", err)
		default: // out of file descriptors, or a peer that gave up: wait and go on
			pause = min(max(2*pause, 5*time.Millisecond), longest)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

// admit starts the handshake of a connection that came.
func (x *Exchange) admit(conn net.Conn) {
	x.mu.Lock()
	full := x.arriving >= maxArriving
	if !full && !x.stopping {
		x.arriving++
	}
	x.mu.Unlock()
	if full {
		conn.Close()
		x.refused(conn.RemoteAddr(), fmt.Errorf("%d handshakes are under way: %w", maxArriving, errdefs.ErrResourceExhausted))
		return
	}
	started := x.spawn(func() {
		arrived := sync.OnceFunc(func() {
			x.mu.Lock()
			x.arriving--
			x.mu.Unlock()
		})
		defer arrived()
		if err := x.arrive(conn, arrived); err != nil {
			conn.Close()
			x.refused(conn.RemoteAddr(), err)
		}
	})
	if !started {
		conn.Close()
	}
}

func (x *Exchange) refused(from net.Addr, err error) {
	if x.cfg.OnRefused != nil && x.ctx.Err() == nil {
		x.cfg.OnRefused(from, err)
	}
}
