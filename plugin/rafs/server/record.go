package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// A mount's state is a directory with two files: the bootstrap, and the request that
// it was made by. The request is written last.
const (
	bootstrapFile = "image.boot"
	recordFile    = "mount.json"
)

// record is what is kept of a mount.
type record struct {
	client.Request
	Since time.Time `json:"since"`
}

// same reports whether a request is for the mount that the record is of. Where its
// bootstrap was read from does not matter.
func (r record) same(q client.Request) bool {
	if r.ID != q.ID || r.Mountpoint != q.Mountpoint || r.Registry != q.Registry || r.Repository != q.Repository || len(r.Blobs) != len(q.Blobs) {
		return false
	}
	for i := range r.Blobs {
		if r.Blobs[i] != q.Blobs[i] {
			return false
		}
	}
	return true
}

// writeRecord makes dir with a mount's state. A power cut leaves it whole or without a
// record.
func writeRecord(dir string, r record) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(dir, bootstrapFile), r.Bootstrap); err != nil {
		return fmt.Errorf("copy bootstrap: %w", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, recordFile), b)
}

// writeFile writes a file so that it is there whole or not at all.
func writeFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// readRecords returns the mounts whose state is below dir, and removes what is not
// whole; removed says what that was.
func readRecords(dir string) (all []record, removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var r record
		b, err := os.ReadFile(filepath.Join(path, recordFile))
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err == nil {
			err = r.Validate()
		}
		if err == nil && r.ID == e.Name() {
			all = append(all, r)
			continue
		}
		removed = append(removed, e.Name())
		if err := os.RemoveAll(path); err != nil {
			return nil, nil, err
		}
	}
	return all, removed, nil
}
