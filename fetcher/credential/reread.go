package credential

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// reread is what was made of files, made again when one of them changes.
type reread[T any] struct {
	list  func() ([]string, error)
	parse func(contents [][]byte) (T, error)

	mu    sync.Mutex
	mark  string // what the files looked like when value and err were made; "" = never
	value T
	err   error
}

// get returns what the files hold now.
func (r *reread[T]) get() (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var none T
	files, err := r.list()
	if err != nil {
		return none, err
	}
	mark, err := markOf(files)
	if err != nil {
		return none, err
	}
	if mark == r.mark {
		return r.value, r.err
	}
	contents := make([][]byte, len(files))
	for i, path := range files {
		if contents[i], err = readFile(path); err != nil {
			return none, err
		}
	}
	r.mark = mark
	r.value, r.err = r.parse(contents)
	return r.value, r.err
}

// markOf tells one state of files from another: a file that is written or replaced
// has another mark.
func markOf(files []string) (string, error) {
	var b strings.Builder
	b.WriteString("files\n")
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %d %d", path, info.Size(), info.ModTime().UnixNano())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(&b, " %d %d %d.%d", st.Dev, st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// readFile reads a small regular file. A pipe or device would keep its reader waiting.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", path, errdefs.ErrInvalidArgument)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes: %w", path, maxFile, errdefs.ErrInvalidArgument)
	}
	return b, nil
}

// ifThere lists the file at path, or nothing where it is missing.
func ifThere(path string) func() ([]string, error) {
	return func() ([]string, error) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []string{path}, nil
	}
}

// fileOrFolder lists the file at path, or the configuration files in the folder, by name.
func fileOrFolder(path string) func() ([]string, error) {
	return func() ([]string, error) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return []string{path}, nil
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		var files []string
		for _, e := range entries {
			switch filepath.Ext(e.Name()) {
			case ".json", ".yaml", ".yml":
				if !e.IsDir() {
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
		}
		return files, nil
	}
}
