package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// The journal says which chunks the data file holds. It is a head of 64 bytes and
// records of 8; a record that is damaged ends it. Numbers are little-endian.
//
//	head:   magic[8] boot[16] layout[32] reserved[4] crc32c[4] of what is before it
//	record: chunk u32, crc32c u32 of (chunk, number of the record)
//
// Two records with the values synced and n say that the data of the first n records is
// on the disk.
const (
	journalMagic  = "DRTRAFS1"
	journalHead   = 64
	journalRecord = 8
	synced        = ^uint32(0)
	nothing       = synced - 1 // in memory: a record that is no chunk; larger than any
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
// journal is of the layout at all.
func parseJournal(b []byte, boot Boot, f Fingerprint, have *bitmap) bool {
	if len(b) < journalHead || !bytes.Equal(b[:8], []byte(journalMagic)) ||
		crc32.Checksum(b[:journalHead-4], castagnoli) != binary.LittleEndian.Uint32(b[journalHead-4:]) ||
		!bytes.Equal(b[24:56], f[:]) {
		return false
	}
	all := bytes.Equal(b[8:24], boot[:])
	var chunks []uint32 // of the records in their order; synced is one, too
	sure := 0           // how many of them are of synced data
	for at := journalHead; at+journalRecord <= len(b); at += journalRecord {
		value := binary.LittleEndian.Uint32(b[at:])
		if !bytes.Equal(appendRecord(nil, value, len(chunks)), b[at:at+journalRecord]) {
			break
		}
		if k := len(chunks); k > 0 && chunks[k-1] == synced { // this one says up to where
			if int64(value) > int64(k) {
				break
			}
			sure = max(sure, int(value))
			chunks = append(chunks, nothing)
			continue
		}
		if value != synced && int64(value) >= int64(have.n) {
			break
		}
		chunks = append(chunks, value)
	}
	if all {
		sure = len(chunks)
	}
	for _, c := range chunks[:sure] {
		if c < nothing {
			have.add(int(c))
		}
	}
	return true
}

// journal is the file while it grows. It is not safe for concurrent use.
type journal struct {
	f       *os.File
	records int
}

// writeJournal makes or replaces the journal at path by one that holds have, all of
// it synced: the caller has seen to that.
func writeJournal(path string, boot Boot, f Fingerprint, have *bitmap) (_ *journal, err error) {
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
	n := j.records
	b = appendRecord(b, synced, n)
	b = appendRecord(b, uint32(n), n+1)
	j.records += 2
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
	if _, err := j.f.WriteAt(b, int64(journalHead+journalRecord*j.records)); err != nil {
		return fmt.Errorf("journal of chunks: %w", err)
	}
	j.records += len(chunks)
	return nil
}

func (j *journal) close() error { return j.f.Close() }
