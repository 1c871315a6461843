package fetcher

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
)

// The file of remembered tags has a line for each thing that was heard, the last word
// on a tag counts: the CRC-32C of the rest in 8 hex digits, a space, and JSON. A line
// that was cut by a crash or damaged is left out, the others stand for themselves.

const (
	maxTagLine = 8 << 10  // bytes
	maxTagFile = 64 << 20 // bytes; the rest is damage
)

type tagJSON struct {
	Origin string `json:"origin"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Type   string `json:"type,omitempty"`
	Seen   int64  `json:"seen"` // Unix seconds
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func tagLine(t p2p.Tag) []byte {
	// A struct of strings and numbers always has a JSON form.
	body, _ := json.Marshal(tagJSON{string(t.Origin), t.Digest.String(), t.Size, t.MediaType, t.Seen.Unix()})
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(body, castagnoli), body)
}

var errTagLine = errors.New("not a line of remembered tags")

// parseTagLine reads a line without its end.
func parseTagLine(line []byte) (p2p.Tag, error) {
	sum, body, ok := bytes.Cut(line, []byte(" "))
	var want [4]byte
	if !ok || len(sum) != 8 {
		return p2p.Tag{}, errTagLine
	}
	if _, err := hex.Decode(want[:], sum); err != nil {
		return p2p.Tag{}, errTagLine
	}
	got := crc32.Checksum(body, castagnoli)
	if want != [4]byte{byte(got >> 24), byte(got >> 16), byte(got >> 8), byte(got)} {
		return p2p.Tag{}, errTagLine
	}
	var j tagJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return p2p.Tag{}, errTagLine
	}
	t := p2p.Tag{Origin: p2p.Origin(j.Origin), Digest: digest.Digest(j.Digest), Size: j.Size, MediaType: j.Type, Seen: time.Unix(j.Seen, 0)}
	if ref, err := registry.ParseOrigin(t.Origin); err != nil || ref.Kind != registry.Manifests {
		return p2p.Tag{}, errTagLine
	}
	if t.Digest.Validate() != nil || t.Size < 0 || t.Size > registry.MaxManifest {
		return p2p.Tag{}, errTagLine
	}
	return t, nil
}

// readTags reads a file of remembered tags; one that is not there is empty.
func readTags(path string) (tags []p2p.Tag, damaged int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return parseTags(f)
}

func parseTags(r io.Reader) (tags []p2p.Tag, damaged int, err error) {
	limited := &io.LimitedReader{R: r, N: maxTagFile}
	lines := bufio.NewReaderSize(limited, maxTagLine)
	for {
		line, err := lines.ReadSlice('\n')
		whole := err == nil
		for errors.Is(err, bufio.ErrBufferFull) { // no line of ours is that long
			_, err = lines.ReadSlice('\n')
		}
		if len(line) > 0 {
			t, perr := parseTagLine(bytes.TrimSuffix(line, []byte("\n")))
			if whole && perr == nil {
				tags = append(tags, t)
			} else {
				damaged++
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if limited.N == 0 {
				damaged++
			}
			return tags, damaged, nil
		case err != nil:
			return nil, damaged, err
		}
	}
}

// rewriteLocked replaces the file by one that holds every tag once.
func (m *Tags) rewriteLocked() error {
	next := m.path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, t := range m.tags {
		_, _ = w.Write(tagLine(t)) // Flush says it
	}
	err = w.Flush()
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(next, m.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if m.file != nil {
		_ = m.file.Close() // of the old file, which is gone
	}
	m.file, m.lines = f, len(m.tags)
	return nil
}
