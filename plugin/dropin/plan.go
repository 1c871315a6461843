package dropin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Change is a file to be written, or taken away.
type Change struct {
	Path   string
	Before []byte // nil: there is none
	After  []byte // nil: it is taken away
}

// Plan is what init or remove is about to do.
type Plan struct {
	Changes []Change
	// Notes are sentences for the operator.
	Notes []string
	// Restart says that containerd must be restarted for the changes to count. It
	// reads certs.d at each pull.
	Restart bool
}

// Diff returns the changes as one unified diff; "" when nothing is to be done.
func (p *Plan) Diff() string {
	var b strings.Builder
	for _, c := range p.Changes {
		b.WriteString(diff(c.Path, c.Before, c.After))
	}
	return b.String()
}

func (p *Plan) add(path string, before, after []byte) {
	if !bytes.Equal(before, after) || (before == nil) != (after == nil) {
		p.Changes = append(p.Changes, Change{path, before, after})
	}
}

// Init computes what makes darter containerd's plugin and mirror, and proves it by
// having containerd merge the result. It writes nothing. A node on which it cannot
// be done without doing harm is ErrFailedPrecondition, with what to do first.
func Init(ctx context.Context, o Options) (*Plan, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	main, err := resolved(o.Config)
	if err != nil {
		return nil, err
	}
	text, err := view{}.read(main)
	if err != nil {
		return nil, fmt.Errorf("read containerd's configuration: %w", err)
	}
	path, mainAfter, err := place(main, text)
	if err != nil {
		return nil, err
	}

	without := view{path: nil}
	all, err := without.sources(main)
	if err != nil {
		return nil, err
	}
	base, err := dump(ctx, o.containerd(), all)
	if err != nil {
		return nil, err
	}
	if text == nil {
		mainAfter = fmt.Appendf(nil, "version = %d\nimports = [%s]\n", base.Version(), quote(filepath.Join(filepath.Dir(path), "*.toml")))
	}
	t := trial{o: o, main: main, mainAfter: mainAfter, path: path, base: base, all: all}
	if err := t.run(ctx); err != nil {
		return nil, err
	}

	p := &Plan{Notes: t.content.notes}
	for _, f := range []struct {
		path  string
		after []byte
	}{{main, mainAfter}, {path, t.text}} {
		before, err := view{}.read(f.path)
		if err != nil {
			return nil, fmt.Errorf("read containerd's configuration: %w", err)
		}
		p.add(f.path, before, f.after)
	}
	p.Restart = len(p.Changes) > 0
	return p, p.mirror(t.result, o)
}

// place returns where the drop-in goes, and the main file that imports it: as it is
// where it imports the file's directory already, with one line more where not. The
// main file is nil where there is none.
func place(main string, text []byte) (path string, after []byte, err error) {
	tree, err := decode(text)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", main, err)
	}
	if path = dropInPath(importsOf(main, tree)); path != "" {
		path, err = resolved(path)
		return path, text, err
	}
	dir := filepath.Join(filepath.Dir(main), "conf.d")
	path = filepath.Join(dir, FileName)
	if text == nil {
		return path, nil, nil
	}
	// What lies there without being read now stays unread.
	pattern := filepath.Join(dir, "*.toml")
	others, err := view{path: nil}.glob(pattern)
	if err != nil {
		return "", nil, err
	}
	if len(others) > 0 {
		pattern = filepath.Join(dir, strings.TrimSuffix(FileName, ".toml")+"*.toml")
	}
	if after, err = addImport(text, pattern); err != nil {
		return "", nil, fmt.Errorf("%s: %w", main, err)
	}
	return path, after, nil
}

// resolved follows symbolic links, so that a file and not a link to it is replaced.
// What does not exist is returned as it is.
func resolved(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("follow %s: %w", path, err)
	}
	return target, nil
}
