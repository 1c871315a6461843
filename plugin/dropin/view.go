package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// view is the file system as it would be after some changes: path → bytes, nil for
// a file taken away.
type view map[string][]byte

// read returns a file's bytes, nil if there is none.
func (v view) read(path string) ([]byte, error) {
	if text, ok := v[path]; ok {
		return text, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil, fmt.Errorf("%s is no file of at most %d bytes: %w", path, maxConfig, errdefs.ErrInvalidArgument)
	}
	text, err := os.ReadFile(path)
	if err == nil && text == nil {
		text = []byte{}
	}
	return text, err
}

func (v view) glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	for path, text := range v {
		if ok, _ := filepath.Match(pattern, path); ok && text != nil {
			found = append(found, path)
		}
	}
	found = slices.DeleteFunc(found, func(path string) bool {
		text, ok := v[path]
		return ok && text == nil
	})
	slices.Sort(found)
	return slices.Compact(found), nil
}

// source is one file of containerd's configuration.
type source struct {
	path string
	text []byte
	tree map[string]any
}

// sources returns the files that containerd reads, in the order in which it merges
// them: the main file, then imports as they are met. No main file is no source.
func (v view) sources(main string) ([]source, error) {
	var all []source
	seen := map[string]bool{}
	for pending := []string{main}; len(pending) > 0; pending = pending[1:] {
		path := pending[0]
		if seen[path] {
			continue
		}
		seen[path] = true
		text, err := v.read(path)
		if err != nil {
			return nil, fmt.Errorf("read containerd's configuration: %w", err)
		}
		if text == nil {
			if path == main || filepath.Base(path) == FileName {
				continue
			}
			return nil, fmt.Errorf("read containerd's configuration: %s is imported and does not exist: %w", path, errdefs.ErrNotFound)
		}
		tree, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, source{path, text, tree})
		for _, pattern := range importsOf(path, tree) {
			found := []string{pattern}
			if strings.Contains(pattern, "*") {
				if found, err = v.glob(pattern); err != nil {
					return nil, fmt.Errorf("%s: imports %q: %w", path, pattern, err)
				}
			}
			pending = append(pending, found...)
		}
	}
	return all, nil
}

// section returns what the files say of a plugin where files replace one another's
// tables of a plugin whole, as in containerd 1.x: the last one that names it.
func section(all []source, plugin string) map[string]any {
	for _, s := range slices.Backward(all) {
		if _, ok := get[map[string]any](s.tree, "plugins", plugin); ok {
			tree, _ := decode(s.text) // a copy; it was decoded before
			t, _ := get[map[string]any](tree, "plugins", plugin)
			return t
		}
	}
	return map[string]any{}
}
