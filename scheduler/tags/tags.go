// Package tags remembers what nodes tell of tags, for the time when a registry does
// not answer: which digest a tag named, who says so and since when. It is soft state,
// bounded, and decides nothing: whoever asks is given all that was told.
//
// It is a step function: no clock, no lock, no goroutine.
package tags

import (
	"cmp"
	"container/list"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/p2p"
)

// Config bounds what is remembered.
type Config struct {
	Tags  int           // the least recently told is forgotten for a new one
	Hosts int           // of one tag; the oldest word is forgotten for a new one
	Life  time.Duration // of a host's word since its registry said it
}

// Default returns bounds of about 100 MB at the worst.
func Default() Config { return Config{Tags: 50_000, Hosts: 16, Life: 7 * 24 * time.Hour} }

// Memory is what was told. Its zero value is not usable; make one with New. Its
// methods are called one at a time.
type Memory struct {
	cfg  Config
	tags map[p2p.Origin]*list.Element // of *told
	used *list.List                   // the last told first
}

// told is what was told of one tag.
type told struct {
	origin p2p.Origin
	words  []word
}

// word is what one host says.
type word struct {
	host p2p.HostID
	seed bool
	tag  p2p.Tag
}

// New returns an empty memory.
func New(cfg Config) *Memory {
	return &Memory{cfg: cfg, tags: map[p2p.Origin]*list.Element{}, used: list.New()}
}

// Len returns the number of tags that are remembered.
func (m *Memory) Len() int { return len(m.tags) }

// Tell takes the word of a host; a later one replaces its earlier one.
func (m *Memory) Tell(host p2p.HostID, seed bool, tag p2p.Tag, now time.Time) {
	if now.Sub(tag.Seen) > m.cfg.Life {
		return
	}
	if tag.Seen.After(now) {
		tag.Seen = now
	}
	at := m.tags[tag.Origin]
	if at == nil {
		if len(m.tags) >= m.cfg.Tags {
			oldest := m.used.Back()
			delete(m.tags, oldest.Value.(*told).origin)
			m.used.Remove(oldest)
		}
		at = m.used.PushFront(&told{origin: tag.Origin})
		m.tags[tag.Origin] = at
	}
	m.used.MoveToFront(at)
	t := at.Value.(*told)
	t.words = slices.DeleteFunc(t.words, func(w word) bool { return w.host == host || now.Sub(w.tag.Seen) > m.cfg.Life })
	if len(t.words) >= m.cfg.Hosts {
		t.words = slices.Delete(t.words, 0, 1)
	}
	t.words = append(t.words, word{host, seed, tag})
}

// Find returns what is said of a tag: one answer for each digest, the one that most
// hosts say first, among equals the latest.
func (m *Memory) Find(o p2p.Origin, now time.Time) []p2p.ToldTag {
	at := m.tags[o]
	if at == nil {
		return nil
	}
	byDigest := map[digest.Digest]*p2p.ToldTag{}
	var all []p2p.ToldTag
	for _, w := range at.Value.(*told).words {
		if now.Sub(w.tag.Seen) > m.cfg.Life {
			continue
		}
		a := byDigest[w.tag.Digest]
		if a == nil {
			a = &p2p.ToldTag{Tag: w.tag, Host: w.host}
			byDigest[w.tag.Digest] = a
		}
		if a.Hosts++; w.tag.Seen.After(a.Seen) {
			a.Tag, a.Host = w.tag, w.host
		}
		a.Seed = a.Seed || w.seed
	}
	for _, a := range byDigest {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b p2p.ToldTag) int {
		return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), b.Seen.Compare(a.Seen), cmp.Compare(a.Digest, b.Digest))
	})
	return all
}
