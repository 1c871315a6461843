package vfs

// blockSize is the unit in which the memory file system keeps bytes, sectorSize
// the unit in which a disk writes them or does not.
const (
	blockSize  = 4096
	sectorSize = 512
)

// block is immutable once it is part of a file, so that versions share blocks. nil is a block of zeros.
type block *[blockSize]byte

// version is what a block was from some change on.
type version struct {
	seq  uint64
	data block
}

type sizeVersion struct {
	seq  uint64
	size int64
}

// content is a file's bytes: of every block the durable version, then those
// written since the last sync. The last is what processes read.
type content struct {
	blocks map[int64][]version
	sizes  []sizeVersion
	dirty  []int64 // blocks with versions that are not durable; may repeat
}

func (c *content) size() int64 {
	if len(c.sizes) == 0 {
		return 0
	}
	return c.sizes[len(c.sizes)-1].size
}

func (c *content) block(i int64) block {
	if v := c.blocks[i]; len(v) > 0 {
		return v[len(v)-1].data
	}
	return nil
}

func (c *content) readAt(b []byte, off int64) int {
	b = b[:min(int64(len(b)), max(c.size()-off, 0))]
	for done := 0; done < len(b); {
		at := (off + int64(done)) % blockSize
		part := b[done:min(len(b), done+int(blockSize-at))]
		if data := c.block((off + int64(done)) / blockSize); data != nil {
			copy(part, data[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(b)
}

func (c *content) writeAt(b []byte, off int64, seq uint64) {
	if c.blocks == nil {
		c.blocks = map[int64][]version{}
	}
	for done := 0; done < len(b); {
		i, at := (off+int64(done))/blockSize, (off+int64(done))%blockSize
		data := new([blockSize]byte)
		if old := c.block(i); old != nil && (at != 0 || len(b)-done < blockSize) {
			*data = *old
		}
		done += copy(data[at:], b[done:])
		v := c.blocks[i]
		if len(v) == 0 {
			v = append(make([]version, 0, 2), version{}) // zeros are durable
		}
		c.blocks[i] = append(v, version{seq, data})
		c.dirty = append(c.dirty, i)
	}
	c.resize(max(c.size(), off+int64(len(b))), seq)
}

func (c *content) resize(size int64, seq uint64) {
	if size == c.size() {
		return
	}
	if len(c.sizes) == 0 {
		c.sizes = append(c.sizes, sizeVersion{}) // empty is durable
	}
	c.sizes = append(c.sizes, sizeVersion{seq, size})
}

// sync makes the last versions the durable ones.
func (c *content) sync() {
	for _, i := range c.dirty {
		v := c.blocks[i]
		c.blocks[i] = append(v[:0], v[len(v)-1])
	}
	c.dirty = nil
	if n := len(c.sizes); n > 0 {
		c.sizes = c.sizes[n-1:]
	}
}
