package format

import (
	"bytes"
	"strings"
)

// FileType is the type of the inode that a directory entry names.
type FileType uint8

// The file types.
const (
	TypeUnknown FileType = iota
	TypeRegular
	TypeDir
	TypeChar
	TypeBlock
	TypeFIFO
	TypeSocket
	TypeSymlink
)

// TypeOf returns the file type of a mode.
func TypeOf(mode uint16) FileType {
	switch mode & ModeType {
	case ModeRegular:
		return TypeRegular
	case ModeDir:
		return TypeDir
	case ModeChar:
		return TypeChar
	case ModeBlock:
		return TypeBlock
	case ModeFIFO:
		return TypeFIFO
	case ModeSocket:
		return TypeSocket
	case ModeSymlink:
		return TypeSymlink
	}
	return TypeUnknown
}

// DirentSize is the length of a directory entry without its name.
const DirentSize = 12

// MaxName is the longest name.
const MaxName = 255

// Dirent is an entry of a directory. A directory is a row of blocks; in a block
// all entries come first, then all names. Entries are sorted by name, byte by
// byte, over the whole directory; "." and ".." are among them.
type Dirent struct {
	Node uint64 // node number of the inode
	Type FileType
	Name string
}

// ParseDirBlock reads the entries of one block of a directory; the last block
// of a directory ends with its last name. Names are not empty, have neither "/"
// nor a zero byte, and come in ascending order.
func ParseDirBlock(b []byte) ([]Dirent, error) {
	if len(b) > BlockSize {
		b = b[:BlockSize]
	}
	if err := need(b, DirentSize, "directory block"); err != nil {
		return nil, err
	}
	first := int(le.Uint16(b[8:]))
	if first == 0 || first%DirentSize != 0 || first > len(b) {
		return nil, malformed("directory block: names start at %d of %d", first, len(b))
	}
	entries := make([]Dirent, first/DirentSize)
	for i := range entries {
		e := b[i*DirentSize:]
		start, end := int(le.Uint16(e[8:])), len(b)
		if i+1 < len(entries) {
			end = int(le.Uint16(e[DirentSize+8:]))
		}
		if start < first || start >= end || end > len(b) {
			return nil, malformed("directory block: name %d goes from %d to %d of %d", i, start, end, len(b))
		}
		name := b[start:end]
		if i+1 == len(entries) { // zeros fill the block
			name = bytes.TrimRight(name, "\x00")
		}
		entries[i] = Dirent{Node: le.Uint64(e), Type: FileType(e[10]), Name: string(name)}
		if err := entries[i].check(); err != nil {
			return nil, err
		}
		if i > 0 && entries[i-1].Name >= entries[i].Name {
			return nil, malformed("directory block: %q comes after %q", entries[i].Name, entries[i-1].Name)
		}
	}
	return entries, nil
}

func (d Dirent) check() error {
	switch {
	case d.Name == "" || len(d.Name) > MaxName:
		return malformed("directory block: a name of %d bytes", len(d.Name))
	case strings.ContainsAny(d.Name, "/\x00"):
		return malformed("directory block: name %q", d.Name)
	case d.Type == TypeUnknown || d.Type > TypeSymlink:
		return malformed("directory block: %q is of type %d", d.Name, d.Type)
	}
	return nil
}

// AppendDir appends the content of a directory to b, whose length is taken as
// the start of a block. The entries must be sorted by name and valid. All blocks
// but the last are filled up with zeros; what is appended is as long as the
// inode's Size.
func AppendDir(b []byte, entries []Dirent) []byte {
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && size+DirentSize+len(entries[n].Name) <= BlockSize {
			size += DirentSize + len(entries[n].Name)
			n++
		}
		b = appendDirBlock(b, entries[:n])
		if entries = entries[n:]; len(entries) > 0 {
			b = append(b, make([]byte, BlockSize-size)...)
		}
	}
	return b
}

func appendDirBlock(b []byte, entries []Dirent) []byte {
	at := len(entries) * DirentSize
	for _, e := range entries {
		b = le.AppendUint64(b, e.Node)
		b = le.AppendUint16(b, uint16(at))
		b = append(b, byte(e.Type), 0)
		at += len(e.Name)
	}
	for _, e := range entries {
		b = append(b, e.Name...)
	}
	return b
}
