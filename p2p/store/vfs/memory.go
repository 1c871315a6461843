package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Memory is a file system in memory that remembers what is durable and what is
// not. Cut returns what a disk may hold after the power failed.
type Memory struct {
	mu       sync.Mutex
	root     *node
	seq      uint64 // of the last change
	capacity int64  // bytes; 0 = without limit
	used     int64  // bytes
	sparse   bool   // Allocate cannot reserve
	locked   map[string]bool
}

var _ FS = (*Memory)(nil)

// NewMemory returns an empty file system that holds the directory "/".
func NewMemory() *Memory {
	return &Memory{root: newDir(), locked: map[string]bool{}}
}

// SetCapacity bounds what the files may occupy, in bytes; 0 takes the bound away.
func (m *Memory) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = n
}

// SetSparse says whether Allocate leaves files sparse, as some file systems do.
func (m *Memory) SetSparse(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sparse = on
}

// node is a directory or a file. It is guarded by the file system's mutex.
type node struct {
	// Of a directory: the names now, the names that are durable, and the changes between them.
	names   map[string]*node
	durable map[string]*node
	changes []nameChange

	// Of a file.
	content
	links    int
	modified time.Time
	readOnly bool
	reserved int64 // bytes from the beginning that Allocate reserved
	charged  int64 // bytes of the capacity
}

func newDir() *node {
	return &node{names: map[string]*node{}, durable: map[string]*node{}}
}

func (n *node) isDir() bool { return n.names != nil }

// nameChange gives a name to a node, or takes it away if to is nil. With from set it is a rename.
type nameChange struct {
	seq  uint64
	name string
	to   *node
	from string
}

func (c nameChange) apply(names map[string]*node) {
	if c.to == nil {
		delete(names, c.name)
		return
	}
	if c.from != "" && names[c.from] == c.to {
		delete(names, c.from)
	}
	names[c.name] = c.to
}

func (m *Memory) change(dir *node, c nameChange) {
	m.seq++
	c.seq = m.seq
	c.apply(dir.names)
	dir.changes = append(dir.changes, c)
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// lookup returns the directory of name, the last part of name, and the node if there is one.
func (m *Memory) lookup(op, name string) (dir *node, base string, n *node, err error) {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil, "", m.root, nil
	}
	at := m.root
	for rest := clean[1:]; ; {
		first, more, deeper := cutSlash(rest)
		next := at.names[first]
		if !deeper {
			return at, first, next, nil
		}
		if next == nil {
			return nil, "", nil, pathError(op, name, fs.ErrNotExist)
		}
		if !next.isDir() {
			return nil, "", nil, pathError(op, name, syscall.ENOTDIR)
		}
		at, rest = next, more
	}
}

func cutSlash(s string) (first, rest string, found bool) {
	for i := range len(s) {
		if s[i] == '/' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// file returns the existing file of that name.
func (m *Memory) file(op, name string) (dir *node, base string, n *node, err error) {
	dir, base, n, err = m.lookup(op, name)
	switch {
	case err != nil:
	case n == nil:
		err = pathError(op, name, fs.ErrNotExist)
	case n.isDir():
		err = pathError(op, name, syscall.EISDIR)
	}
	return dir, base, n, err
}

// Create implements FS.
func (m *Memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.lookup("create", name)
	if err != nil {
		return nil, err
	}
	if n != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	n = &node{links: 1, modified: time.Now()}
	m.change(dir, nameChange{name: base, to: n})
	return &memoryFile{m: m, n: n, name: name, writable: true}, nil
}

// Open implements FS.
func (m *Memory) Open(name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.file("open", name)
	if err != nil {
		return nil, err
	}
	if write && n.readOnly {
		return nil, pathError("open", name, fs.ErrPermission)
	}
	return &memoryFile{m: m, n: n, name: name, writable: write}, nil
}

// Stat implements FS.
func (m *Memory) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.file("stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: n.size(), ModTime: n.modified, Links: n.links}, nil
}

// List implements FS.
func (m *Memory) List(name string) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.lookup("list", name)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, pathError("list", name, fs.ErrNotExist)
	case !n.isDir():
		return nil, pathError("list", name, syscall.ENOTDIR)
	}
	entries := make([]Entry, 0, len(n.names))
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		entries = append(entries, Entry{Name: base, Dir: n.names[base].isDir()})
	}
	return entries, nil
}

// Mkdir implements FS.
func (m *Memory) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.lookup("mkdir", name)
	if err != nil {
		return err
	}
	if n != nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	m.change(dir, nameChange{name: base, to: newDir()})
	return nil
}

// Rename implements FS.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, oldBase, n, err := m.file("rename", from)
	if err != nil {
		return err
	}
	toDir, newBase, replaced, err := m.lookup("rename", to)
	if err != nil {
		return err
	}
	if toDir != dir {
		return pathError("rename", to, fmt.Errorf("not in the directory of %s: %w", from, syscall.EXDEV))
	}
	if replaced == n {
		return nil
	}
	if replaced != nil {
		m.unlink(replaced)
	}
	m.change(dir, nameChange{name: newBase, to: n, from: oldBase})
	return nil
}

// Link implements FS.
func (m *Memory) Link(name, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.file("link", name)
	if err != nil {
		return err
	}
	dir, base, other, err := m.lookup("link", to)
	if err != nil {
		return err
	}
	if other != nil {
		return pathError("link", to, fs.ErrExist)
	}
	n.links++
	m.change(dir, nameChange{name: base, to: n})
	return nil
}

// Remove implements FS.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.file("remove", name)
	if err != nil {
		return err
	}
	m.unlink(n)
	m.change(dir, nameChange{name: base})
	return nil
}

// unlink takes one name from a file; the last one frees its space.
func (m *Memory) unlink(n *node) {
	if n.links--; n.links == 0 {
		m.used -= n.charged
		n.charged = 0
	}
}

// SyncDir implements FS.
func (m *Memory) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.lookup("sync", name)
	switch {
	case err != nil:
		return err
	case n == nil:
		return pathError("sync", name, fs.ErrNotExist)
	}
	for _, c := range n.changes {
		c.apply(n.durable)
	}
	n.changes = nil
	return nil
}

// Touch implements FS.
func (m *Memory) Touch(name string, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.file("touch", name)
	if err == nil {
		n.modified = t
	}
	return err
}

// ReadOnly implements FS.
func (m *Memory) ReadOnly(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, _, n, err := m.file("chmod", name)
	if err == nil {
		n.readOnly = true
	}
	return err
}

// Free implements FS. Without a capacity it is a very large number.
func (m *Memory) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity == 0 {
		return 1 << 60, nil
	}
	return max(m.capacity-m.used, 0), nil
}

// Lock implements FS.
func (m *Memory) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, n, err := m.lookup("lock", name)
	if err != nil {
		return nil, err
	}
	if n == nil {
		m.change(dir, nameChange{name: base, to: &node{links: 1, modified: time.Now()}})
	}
	key := path.Clean("/" + name)
	if m.locked[key] {
		return nil, pathError("lock", name, syscall.EWOULDBLOCK)
	}
	m.locked[key] = true
	return &memoryLock{m: m, key: key}, nil
}

type memoryLock struct {
	m    *Memory
	key  string
	once sync.Once
}

func (l *memoryLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locked, l.key)
	})
	return nil
}
