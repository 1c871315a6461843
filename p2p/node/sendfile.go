package node

import (
	"fmt"
	"io"
	"os"
)

// WriteSure writes the bytes from the reader's position on that are verified now to
// w, and returns how many. A w that takes files (io.ReaderFrom) gets one, so that the
// bytes go by sendfile.
func (r *Reader) WriteSure(w io.Writer) (int64, error) {
	left := min(r.sure, r.end) - r.off
	if left <= 0 {
		return 0, nil
	}
	var sent int64
	var err error
	if to, ok := w.(io.ReaderFrom); ok && r.file() != nil {
		if _, err = r.own.Seek(r.off, io.SeekStart); err != nil {
			return 0, err
		}
		sent, err = to.ReadFrom(&io.LimitedReader{R: r.own, N: left})
	} else {
		sent, err = io.Copy(onlyWriter{w}, io.NewSectionReader(r.h, r.off, left))
	}
	r.off += sent
	if err == nil && sent < left {
		err = fmt.Errorf("content ends %d bytes early: %w", left-sent, io.ErrUnexpectedEOF)
	}
	return sent, err
}

// file returns the task's file with a position of this reader's own, nil where the
// store has no file.
func (r *Reader) file() *os.File {
	if r.own != nil {
		return r.own
	}
	shared := r.h.File()
	if shared == nil {
		return nil
	}
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", shared.Fd()))
	if err != nil {
		return nil
	}
	r.own = own
	return own
}
