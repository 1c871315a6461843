package dynamic

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/protobuf/proto"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/durable"
)

// The file of a state: one line of text, its name, the format's version and the CRC-32C of
// what follows in 8 hexadecimal digits, then the State in its protobuf encoding.
const (
	fileName    = "darter-manager-state"
	fileVersion = 1
	maxFile     = 8 << 20 // bytes
)

// table is that of CRC-32C.
func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encode writes a state as it is kept.
func encode(s *managerv1.State) ([]byte, error) {
	body, err := proto.Marshal(s)
	if err != nil {
		return nil, err
	}
	head := fmt.Appendf(nil, "%s %d %08x\n", fileName, fileVersion, crc32.Checksum(body, table()))
	return append(head, body...), nil
}

// decode reads what encode wrote.
func decode(data []byte) (*managerv1.State, error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	words := bytes.Fields(head)
	if !ok || len(words) != 3 || string(words[0]) != fileName {
		return nil, errors.New("it is no state of a manager, or it is damaged")
	}
	version, err := strconv.ParseUint(string(words[1]), 10, 31)
	if err != nil {
		return nil, errors.New("its version is damaged")
	}
	if version != fileVersion {
		return nil, fmt.Errorf("it has format %d, and this program reads %d: another version of darter wrote it", version, fileVersion)
	}
	if string(words[2]) != fmt.Sprintf("%08x", crc32.Checksum(body, table())) {
		return nil, errors.New("it is damaged: its checksum is another")
	}
	s := &managerv1.State{}
	if err := proto.Unmarshal(body, s); err != nil {
		return nil, err
	}
	return s, nil
}

// read returns a kept state; nil where there is none.
func read(path string) (*managerv1.State, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes, want at most %d", info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

// keep writes a state so that a crash leaves the old one or the new one.
func keep(path string, s *managerv1.State) error {
	data, err := encode(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}
