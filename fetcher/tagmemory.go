package fetcher

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
)

const (
	// maxTags bounds how many tags are remembered.
	maxTags = 10_000
	// tagRefresh is how often it is written down that a tag still names the same.
	tagRefresh = time.Hour
)

// Tags is what public tags named when their registries were asked last. It is kept in
// a file, so that it outlives the process. Its methods may be called concurrently.
type Tags struct {
	life time.Duration

	mu    sync.Mutex
	tags  map[p2p.Origin]p2p.Tag
	file  *os.File // nil = only in memory
	path  string
	lines int // in the file
}

// OpenTags returns what the file at path remembers; it makes the file, and with the
// path "" there is none. What is damaged or older than life is left out; damaged is
// how many lines were. One process at a time uses the file.
func OpenTags(path string, life time.Duration) (_ *Tags, damaged int, err error) {
	m := &Tags{life: life, tags: map[p2p.Origin]p2p.Tag{}, path: path}
	if path == "" {
		return m, 0, nil
	}
	now := time.Now()
	all, damaged, err := readTags(path)
	if err != nil {
		return nil, 0, fmt.Errorf("remembered tags: %w", err)
	}
	for _, t := range all {
		if t.Seen.After(now) { // the clock was set back
			t.Seen = now
		}
		if now.Sub(t.Seen) <= life {
			m.tags[t.Origin] = t
		}
	}
	m.shrinkLocked()
	if err := m.rewriteLocked(); err != nil {
		return nil, damaged, fmt.Errorf("remembered tags: %w", err)
	}
	return m, damaged, nil
}

// Close closes the file.
func (m *Tags) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	m.file = nil
	return err
}

// put remembers what a tag names now. It reports whether that is news: another digest
// than before, or the same after a while. On an error the tag is remembered in memory only.
func (m *Tags) put(t p2p.Tag) (news bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.tags[t.Origin]
	if ok && old.Digest == t.Digest && old.MediaType == t.MediaType && t.Seen.Sub(old.Seen) < tagRefresh {
		return false, nil
	}
	m.tags[t.Origin] = t
	m.shrinkLocked()
	if m.file == nil {
		return true, nil
	}
	if m.lines > 2*len(m.tags)+1000 {
		return true, m.rewriteLocked()
	}
	if _, err := m.file.Write(tagLine(t)); err != nil {
		return true, fmt.Errorf("remember tag %s: %w", t.Origin, err)
	}
	m.lines++
	return true, nil
}

// shrinkLocked forgets the oldest tags, many at once, when there are too many.
func (m *Tags) shrinkLocked() {
	if len(m.tags) <= maxTags {
		return
	}
	for _, t := range m.recentLocked()[maxTags*9/10:] {
		delete(m.tags, t.Origin)
	}
}

// get returns what a tag named, unless that is too long ago.
func (m *Tags) get(o p2p.Origin) (p2p.Tag, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tags[o]
	return t, ok && time.Since(t.Seen) <= m.life
}

// Recent returns at most n tags, the last seen first.
func (m *Tags) Recent(n int) []p2p.Tag {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.recentLocked()
	return all[:min(n, len(all))]
}

func (m *Tags) recentLocked() []p2p.Tag {
	all := make([]p2p.Tag, 0, len(m.tags))
	for _, t := range m.tags {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b p2p.Tag) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

// Digest returns what a public tag named when it was asked for last, for explaining.
func (m *Tags) Digest(registryName, repository, tag string) (digest.Digest, bool) {
	t, ok := m.get(registry.Origin(registryName, repository, registry.Manifests, tag))
	return t.Digest, ok
}
