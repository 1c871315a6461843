package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/exchange"
)

// Credential is what a reader may show to the origin of his content. It is kept for as
// long as his Reader is open. Methods may be called concurrently.
type Credential interface {
	// Own returns the Authorization with which this host reads the origin itself.
	Own() p2p.Secret
	// Bearer returns a token, without its scheme, that may be given to a seed which
	// reads the origin for all: one that is short-lived and no password. It may ask a
	// token server. Where there is none it is an error.
	Bearer(ctx context.Context) (p2p.Secret, error)
}

// lent is a reader's credential while he reads.
type lent struct {
	origin p2p.Origin
	Credential
}

// lendLocked keeps a reader's credential with the task, and returns its number; 0 = none.
func (n *Node) lendLocked(t *task, w Want) uint64 {
	if w.Credential == nil || w.Origin == "" {
		return 0
	}
	n.lendings++
	if t.lent == nil {
		t.lent = map[uint64]lent{}
	}
	t.lent[n.lendings] = lent{w.Origin, w.Credential}
	return n.lendings
}

// lendsFor reports whether a reader is here who may have a credential for an origin.
func (t *task) lendsFor(origin p2p.Origin) bool {
	bare, _ := origin.Bare()
	for _, l := range t.lent {
		if l.origin == bare {
			return true
		}
	}
	return false
}

// joinLocked asks the scheduler for neighbours, once for those who read without a
// credential and once for those with one: the origin may refuse the one and not the other.
func (n *Node) joinLocked(t *task, w Want) {
	key := w.Credential != nil && w.Origin != ""
	if t.haveAll() || t.joined && (!key || t.joinedKey) {
		return
	}
	t.joined, t.joinedKey = true, t.joinedKey || key
	origin := w.Origin
	if key {
		origin = origin.WithCredential()
		t.origin = origin
	}
	n.tracker.Join(t.id, origin, w.Size)
}

// The search of a seed for a token.
const (
	// askAtOnce is how many neighbours are asked at a time, so that no more tokens
	// travel than it takes.
	askAtOnce = 2
	// tokenWait is how long a puller waits for a token, tokenGrace for one of a neighbour
	// that is still to come when all others had none.
	tokenWait  = 3 * time.Second
	tokenGrace = 500 * time.Millisecond
	// bearerWait bounds how long a reader's host takes to get one.
	bearerWait = 2 * time.Second
	// maxRefused is how many credentials an origin may refuse to one puller.
	maxRefused = 16
)

// search is a puller's question to its neighbours for a token.
type search struct {
	offers chan p2p.Secret // "" = all who were asked have none
	asked  map[p2p.HostID]bool
	due    int // answers
}

// errNoCredential says that an origin asks for a credential that nobody gave.
var errNoCredential = errors.New("it asks for a credential, and no reader gave one")

// unlock finds another credential for an origin that refused the one that was shown,
// or none. It returns the refusal where a credential would not help.
func (p *puller) unlock(refusal error) error {
	var said p2p.OriginError
	if !p.lent || !errors.As(refusal, &said) || said.Status != 401 && said.Status != 403 && said.Status != 404 {
		return refusal
	}
	if p.key != "" {
		p.refused = append(p.refused, p.key)
	}
	if len(p.refused) >= maxRefused {
		return refusal
	}
	key, err := p.findKey()
	if err != nil {
		// Not the origin's last word: another host may have a reader who has one.
		return fmt.Errorf("%w: %w", err, p2p.OriginError{
			Message: fmt.Sprintf("%s: %v", p.origin, err), Puller: p.n.self, Keyless: errors.Is(err, errNoCredential),
		})
	}
	p.key = key
	return nil
}

// findKey returns an Authorization that the origin did not refuse: of this host's own
// readers, or, on a seed, of those of its neighbours.
func (p *puller) findKey() (p2p.Secret, error) {
	n, t := p.n, p.t
	n.mu.Lock()
	for _, l := range t.lent {
		if own := l.Own(); l.origin == p.origin && own != "" && !p.wasRefused(own) {
			n.mu.Unlock()
			return own, nil
		}
	}
	if !n.cfg.Seed { // no member gives it one
		n.mu.Unlock()
		return "", errNoCredential
	}
	s := &search{offers: make(chan p2p.Secret, 16), asked: map[p2p.HostID]bool{}}
	p.search = s
	p.askLocked()
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		p.search = nil
		n.mu.Unlock()
	}()
	patience := time.NewTimer(tokenWait)
	defer patience.Stop()
	for {
		select {
		case bearer := <-s.offers:
			if key := "Bearer " + bearer; bearer != "" && !p.wasRefused(key) {
				return key, nil
			}
			p.askMore(patience)
		case <-patience.C:
			return "", errNoCredential
		case <-p.ctx.Done():
			return "", p.ctx.Err()
		}
	}
}

func (p *puller) wasRefused(key p2p.Secret) bool {
	for _, r := range p.refused {
		if r == key {
			return true
		}
	}
	return false
}

// askMore asks the next neighbours; when there are none left it does not wait for long.
func (p *puller) askMore(patience *time.Timer) {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.askLocked()
	if p.search.due == 0 {
		patience.Reset(tokenGrace)
	}
}

// askLocked asks neighbours that were not asked yet for a token.
func (p *puller) askLocked() {
	s := p.search
	for id, nb := range p.t.neighbours {
		if s.due >= askAtOnce {
			return
		}
		h := p.n.hosts[id]
		if !nb.told || h == nil || h.link == nil || s.asked[id] {
			continue
		}
		s.asked[id] = true
		s.due++
		h.link.Send(exchange.AskToken{Task: p.t.id, Origin: p.origin})
	}
}

// receiveAskLocked answers a seed that asks for a token; nobody else gets one.
func (n *Node) receiveAskLocked(l exchange.Link, m exchange.AskToken) {
	none := exchange.Token{Task: m.Task, Origin: m.Origin}
	t := n.tasks[m.Task]
	if t == nil || !l.Seed() {
		l.Send(none)
		return
	}
	var mine []Credential
	for _, c := range t.lent {
		if c.origin == m.Origin && len(mine) < askAtOnce {
			mine = append(mine, c.Credential)
		}
	}
	if len(mine) == 0 || t.answering[l.Host()] {
		l.Send(none)
		return
	}
	if t.answering == nil {
		t.answering = map[p2p.HostID]bool{}
	}
	t.answering[l.Host()] = true
	n.goLocked(func() { n.answerAsk(l, t, mine, none) })
}

// answerAsk sends a seed the first token that one of the readers has.
func (n *Node) answerAsk(l exchange.Link, t *task, mine []Credential, answer exchange.Token) {
	ctx, cancel := context.WithTimeout(n.ctx, bearerWait)
	defer cancel()
	for _, c := range mine {
		bearer, err := c.Bearer(ctx)
		if err == nil && len(bearer) <= exchange.MaxBearer {
			answer.Bearer = bearer
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(t.answering, l.Host())
	l.Send(answer)
	if answer.Bearer != "" {
		n.events.TokenGiven(t.id, l.Host())
	}
}

// receiveTokenLocked takes a neighbour's answer to AskToken; what was not asked for is
// dropped.
func (n *Node) receiveTokenLocked(from p2p.HostID, m exchange.Token) {
	t := n.tasks[m.Task]
	if t == nil || t.puller == nil || t.puller.search == nil || t.puller.origin != m.Origin {
		return
	}
	s := t.puller.search
	if !s.asked[from] || s.due == 0 {
		return
	}
	s.due--
	select {
	case s.offers <- m.Bearer:
	default: // there are enough
	}
}
