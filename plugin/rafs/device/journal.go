package device

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
)

// The journal says which chunks the data file holds. It is a head of 64 bytes and
// records of 8; a record that is damaged ends it. Numbers are little-endian.
//
//	head:   magic[8] boot[16] layout[32] reserved[4] crc32c[4] of what is before it
//	record: chunk u32, crc32c u32 of (chunk, number of the record)
const (
	journalMagic  = "DRTRAFS1"
	journalHead   = 64
	journalRecord = 8
	// synced says that the data of all records before it is on the disk.
	synced = ^uint32(0)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Boot names a run of the machine: what a process wrote before it was killed is still
// there in the same run, and may not be in the next.
type Boot [16]byte

// Fingerprint names a layout: two bootstraps that say different things of one blob do
// not share a cache.
type Fingerprint [32]byte

func journalHeadOf(boot Boot, f Fingerprint) []byte {
	b := make([]byte, 0, journalHead)
	b = append(b, journalMagic...)
	b = append(b, boot[:]...)
	b = append(b, f[:]...)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendRecord(b []byte, chunk uint32, number int) []byte {
	var sum [12]byte
	binary.LittleEndian.PutUint32(sum[:], chunk)
	binary.LittleEndian.PutUint64(sum[4:], uint64(number))
	b = binary.LittleEndian.AppendUint32(b, chunk)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(sum[:], castagnoli))
}

// parseJournal adds to have what a journal vouches for: every record of this run of the
// machine, and of an earlier one those before the last synced. It reports whether the
// journal is of the layout at all, and how many bytes of it are whole.
func parseJournal(b []byte, boot Boot, f Fingerprint, have *bitmap) (whole int64, ok bool) {
	if len(b) < journalHead || !bytes.Equal(b[:8], []byte(journalMagic)) ||
		crc32.Checksum(b[:journalHead-4], castagnoli) != binary.LittleEndian.Uint32(b[journalHead-4:]) ||
		!bytes.Equal(b[24:56], f[:]) {
		return 0, false
	}
	sameBoot := bytes.Equal(b[8:24], boot[:])
	var fresh []uint32
	at := journalHead
	for number := 0; at+journalRecord <= len(b); number++ {
		chunk := binary.LittleEndian.Uint32(b[at:])
		if !bytes.Equal(appendRecord(nil, chunk, number), b[at:at+journalRecord]) || chunk != synced && int64(chunk) >= int64(have.n) {
			break
		}
		at += journalRecord
		fresh = append(fresh, chunk)
		if chunk == synced || sameBoot {
			for _, c := range fresh {
				if c != synced {
					have.add(int(c))
				}
			}
			fresh = fresh[:0]
		}
	}
	return int64(at), true
}

// journal is the file while it grows. It is not safe for concurrent use.
type journal struct {
	f       *os.File
	records int
}

// openJournal reads the journal at path into have, and returns it ready to grow. What
// is not of this layout begins anew; fresh says so: the data file is then worth nothing.
func openJournal(path string, boot Boot, f Fingerprint, have *bitmap) (j *journal, fresh bool, err error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	_, ok := parseJournal(b, boot, f, have)
	j, err = rewriteJournal(path, boot, f, have)
	return j, !ok, err
}

// rewriteJournal replaces the journal by one that holds have. The data of have must be
// what the old one vouched for; it is marked as synced only when it was or when the
// machine has not been restarted, which its first sync makes true.
func rewriteJournal(path string, boot Boot, f Fingerprint, have *bitmap) (_ *journal, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".journal-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	b := journalHeadOf(boot, f)
	j := &journal{f: tmp}
	for i := range have.n {
		if have.has(i) {
			b = appendRecord(b, uint32(i), j.records)
			j.records++
		}
	}
	if _, err := tmp.Write(b); err != nil {
		return nil, err
	}
	if err := tmp.Sync(); err != nil {
		return nil, err
	}
	return j, os.Rename(tmp.Name(), path)
}

// add appends records.
func (j *journal) add(chunks ...uint32) error {
	b := make([]byte, 0, journalRecord*len(chunks))
	for i, c := range chunks {
		b = appendRecord(b, c, j.records+i)
	}
	if n, err := j.f.WriteAt(b, int64(journalHead+journalRecord*j.records)); err != nil {
		return fmt.Errorf("journal of chunks: %w", errors.Join(err, shortWrite(n, len(b))))
	}
	j.records += len(chunks)
	return nil
}

func shortWrite(n, want int) error {
	if n < want {
		return fmt.Errorf("%w: %w", io.ErrShortWrite, errdefs.ErrUnavailable)
	}
	return nil
}

func (j *journal) close() error { return j.f.Close() }
