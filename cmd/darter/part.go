package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// part is an output that is not whole yet: a file beside the output, which takes its
// name at the end. A part that is kept has its partNote beside it.
type part struct {
	output string
	path   string
	kept   bool // for the next get --resume
	file   *os.File
	hash   hash.Hash

	size      int64 // bytes written
	whole     int64 // of the content, -1 = not known
	validator string
	identity  string
	gone      bool
}

// partNote says what a part is of.
type partNote struct {
	Identity  string `json:"identity"`
	Validator string `json:"validator,omitempty"`
	Size      int64  `json:"size"` // of the whole, -1 = not known
}

// maxNote is the longest note that is read, in bytes.
const maxNote = 64 << 10

// openPart begins the output, or takes up the part of an earlier get of the same identity.
func openPart(output string, resume bool, identity string) (*part, error) {
	p := &part{output: output, kept: resume, whole: -1, identity: identity, hash: sha256.New()}
	flags := os.O_RDWR | os.O_CREATE
	if p.path = output + ".part"; !resume {
		p.path = filepath.Join(filepath.Dir(output), fmt.Sprintf(".%s.%08x.part", filepath.Base(output), rand.Uint32()))
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(p.path, flags, 0o666)
	if err != nil {
		return nil, diskError(err)
	}
	p.file = f
	if !resume {
		return p, nil
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &failure{1, fmt.Errorf("another darter get writes %s: %w", p.path, err)}
	}
	if err := p.takeUp(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return p, nil
}

// takeUp goes on with what is in the file, if its note says that it is of the same.
func (p *part) takeUp() error {
	note, err := readNote(p.notePath())
	if err != nil || note.Identity != p.identity || note.Validator == "" && !hasDigest(p.identity) {
		return p.restart()
	}
	n, err := io.Copy(p.hash, p.file)
	if err != nil {
		return diskError(err)
	}
	if note.Size >= 0 && n > note.Size {
		return p.restart()
	}
	p.size, p.whole, p.validator = n, note.Size, note.Validator
	return nil
}

// hasDigest reports whether an identity ends in a digest.
func hasDigest(identity string) bool { return len(identity) > 0 && identity[len(identity)-1] != '\n' }

func (p *part) notePath() string { return p.path + ".json" }

// readNote reads the note of a part.
func readNote(path string) (partNote, error) {
	f, err := os.Open(path)
	if err != nil {
		return partNote{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return partNote{}, err
	}
	return parseNote(b)
}

func parseNote(b []byte) (partNote, error) {
	var n partNote
	if err := json.Unmarshal(b, &n); err != nil {
		return partNote{}, err
	}
	if n.Identity == "" || n.Size < -1 {
		return partNote{}, errors.New("not a note of a part")
	}
	return n, nil
}

// note remembers which generation of the content the part is of.
func (p *part) note(validator string) error {
	p.validator = validator
	if !p.kept {
		return nil
	}
	b, err := json.Marshal(partNote{p.identity, validator, p.whole})
	if err == nil {
		next := p.notePath() + ".new"
		if err = os.WriteFile(next, b, 0o666); err == nil {
			err = os.Rename(next, p.notePath())
		}
	}
	if err != nil {
		return diskError(err)
	}
	return nil
}

// restart throws away what was written.
func (p *part) restart() error {
	p.size, p.whole, p.validator = 0, -1, ""
	p.hash.Reset()
	if err := errors.Join(p.file.Truncate(0), seekStart(p.file)); err != nil {
		return diskError(err)
	}
	return nil
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func (p *part) write(b []byte) error {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n]) // a hash never fails
	p.size += int64(n)
	if err != nil {
		return diskError(err)
	}
	return nil
}

func (p *part) digest() string { return digest.NewDigest(digest.SHA256, p.hash).String() }

// finish gives the output its name.
func (p *part) finish() error {
	err := p.file.Sync()
	if err == nil {
		err = os.Rename(p.path, p.output)
	}
	if err != nil {
		return diskError(err)
	}
	p.gone = true
	if p.kept {
		_ = os.Remove(p.notePath()) // of no more use, and of no harm
	}
	return nil
}

// discard makes close remove the part, also one that would be kept.
func (p *part) discard() {
	if p.kept {
		_ = os.Remove(p.notePath()) // without it the part is begun anew
	}
	p.kept = false
}

// close ends the writing. A part that is not kept is removed.
func (p *part) close() {
	_ = p.file.Close()
	if !p.gone && !p.kept {
		_ = os.Remove(p.path)
	}
}
