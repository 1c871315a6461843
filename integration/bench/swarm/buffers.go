package main

import "sync"

// bufferSize is what is read and written at a time, in bytes: as large as what the
// shaper takes whole, so that helpers cost little.
const bufferSize = 256 << 10

// buffers is a pool for httputil.ReverseProxy.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}}
}

// Get returns a buffer of bufferSize.
func (b *buffers) Get() []byte { return *b.pool.Get().(*[]byte) }

// Put takes a buffer back.
func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
