package mirror

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// maxBroken bounds the bodies remembered.
const maxBroken = 1024

// broken remembers bodies that ended early. containerd resumes such a body where it
// ended, three times at the same host, and fails the pull then; but it goes to the
// next host when the resume is refused. It is pure but for its lock.
type broken struct {
	keep time.Duration

	mu     sync.Mutex
	bodies map[brokenKey]brokenBody
}

type brokenKey struct {
	client string // its address without the port
	digest digest.Digest
}

type brokenBody struct {
	from, to int64 // where it began, and the offset of the byte that did not come
	until    time.Time
}

func newBroken(keep time.Duration) *broken {
	return &broken{keep: keep, bodies: map[brokenKey]brokenBody{}}
}

// add remembers that a client's body of [from, …) broke before the byte at to.
func (b *broken) add(k brokenKey, from, to int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.bodies) >= maxBroken {
		b.makeRoom(now)
	}
	b.bodies[k] = brokenBody{from: from, to: to, until: now.Add(b.keep)}
}

func (b *broken) makeRoom(now time.Time) {
	var oldest brokenKey
	var first time.Time
	for k, body := range b.bodies {
		if !now.Before(body.until) {
			delete(b.bodies, k)
		} else if first.IsZero() || body.until.Before(first) {
			oldest, first = k, body.until
		}
	}
	if len(b.bodies) >= maxBroken {
		delete(b.bodies, oldest)
	}
}

// resumes reports whether a request for a range from offset on is the resume of a
// body that broke. What the client got lies between the beginning and the break.
func (b *broken) resumes(k brokenKey, offset int64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.bodies[k]
	if ok && !now.Before(body.until) {
		delete(b.bodies, k)
		return false
	}
	return ok && offset >= body.from && offset <= body.to
}
