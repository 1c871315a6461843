package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Cut returns a disk as a power cut at this moment may leave it, chosen by r; the
// file system itself goes on. Everything that was synced is there. Of the rest,
// one of four things: nothing; everything; everything up to some change; or, the
// worst that a disk and its cache may do, every 512-byte sector, every file's
// length and every change of a name survives or not by itself. The same file
// system and the same r give the same disk.
func (m *Memory) Cut(r *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMemory()
	after.capacity, after.sparse = m.capacity, m.sparse
	c := &cut{rand: r, after: after, copies: map[*node]*node{}}
	switch r.IntN(6) {
	case 0:
		c.upTo = 0
	case 1:
		c.upTo = m.seq
	case 2:
		c.upTo = r.Uint64N(m.seq + 1)
	default:
		c.scattered = true
	}
	after.root = c.dir(m.root)
	return after
}

// cut builds the disk after a power cut.
type cut struct {
	rand      *rand.Rand
	after     *Memory
	scattered bool
	upTo      uint64 // the last change that survived, unless scattered
	copies    map[*node]*node
}

func (c *cut) survives(seq uint64) bool {
	if c.scattered {
		return c.rand.IntN(2) == 0
	}
	return seq <= c.upTo
}

func (c *cut) dir(n *node) *node {
	left := maps.Clone(n.durable)
	for _, change := range n.changes {
		if c.survives(change.seq) {
			change.apply(left)
		}
	}
	made := newDir()
	for _, name := range slices.Sorted(maps.Keys(left)) {
		made.names[name] = c.node(left[name])
	}
	made.durable = maps.Clone(made.names)
	return made
}

func (c *cut) node(n *node) *node {
	if made := c.copies[n]; made != nil { // a second name of the file
		made.links++
		return made
	}
	var made *node
	if n.isDir() {
		made = c.dir(n)
	} else {
		made = &node{content: c.content(&n.content), links: 1, modified: n.modified, readOnly: n.readOnly}
		made.charged = int64(len(made.blocks)) * blockSize
		if !c.after.sparse {
			made.reserved = made.size()
			made.charged = max(made.charged, made.reserved)
		}
		c.after.used += made.charged
	}
	c.copies[n] = made
	return made
}

func (c *cut) content(f *content) content {
	made := content{blocks: make(map[int64][]version, len(f.blocks))}
	for _, i := range slices.Sorted(maps.Keys(f.blocks)) {
		if data := c.block(f.blocks[i]); data != nil {
			made.blocks[i] = []version{{data: data}}
		}
	}
	if size := c.size(f.sizes); size > 0 {
		made.sizes = []sizeVersion{{size: size}}
	}
	return made
}

// block picks one version of every sector. A sector holds all that was written to
// it before the version that survived.
func (c *cut) block(versions []version) block {
	last := len(versions) - 1
	if last == 0 || !c.scattered {
		for last > 0 && versions[last].seq > c.upTo {
			last--
		}
		return versions[last].data
	}
	data := new([blockSize]byte)
	for at := 0; at < blockSize; at += sectorSize {
		if from := versions[c.rand.IntN(last+1)].data; from != nil {
			copy(data[at:at+sectorSize], from[at:])
		}
	}
	return data
}

func (c *cut) size(versions []sizeVersion) int64 {
	last := len(versions) - 1
	if last < 0 {
		return 0
	}
	if c.scattered {
		return versions[c.rand.IntN(last+1)].size
	}
	for last > 0 && versions[last].seq > c.upTo {
		last--
	}
	return versions[last].size
}
