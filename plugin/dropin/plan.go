package dropin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
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
	base, err := dump(ctx, o.Binary, all)
	if err != nil {
		return nil, err
	}
	content, err := compute(base, all, o)
	if err != nil {
		return nil, err
	}
	file, err := content.text()
	if err != nil {
		return nil, err
	}
	if text == nil {
		mainAfter = fmt.Appendf(nil, "version = %d\nimports = [%s]\n", base.Version(), quote(filepath.Join(filepath.Dir(path), "*.toml")))
	}

	with := view{path: file, main: mainAfter}
	if all, err = with.sources(main); err != nil {
		return nil, err
	}
	result, err := dump(ctx, o.Binary, all)
	if err != nil {
		return nil, fmt.Errorf("containerd does not take the drop-in: %w", err)
	}
	if err := content.prove(base, result, path); err != nil {
		return nil, err
	}

	p := &Plan{Notes: content.notes}
	for _, f := range []struct {
		path  string
		after []byte
	}{{main, mainAfter}, {path, file}} {
		before, err := view{}.read(f.path)
		if err != nil {
			return nil, fmt.Errorf("read containerd's configuration: %w", err)
		}
		p.add(f.path, before, f.after)
	}
	p.Restart = len(p.Changes) > 0
	return p, p.mirror(result, o)
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

// prove reports what the result of the merge has not that it should have, or has
// changed that it should not.
func (c *content) prove(base, result Merged, path string) error {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	for _, t := range c.touched {
		want, _ := get[any](c.tree, t...)
		got, _ := get[any](result.tree, t...)
		switch want.(type) {
		case string, bool:
			if got != want {
				fail("%s is %v in the result, want %v: a file that is read after the drop-in sets it", strings.Join(t, "."), got, want)
			}
		}
	}
	want, _ := get[string](c.tree, "proxy_plugins", Snapshotter, "address")
	if got, _ := result.ProxyPlugin(Snapshotter); got.Address != want {
		fail("proxy_plugins.%s is at %q in the result, want %q: a file that is read after the drop-in sets it", Snapshotter, got.Address, want)
	}
	if base.HasTransfer() {
		for _, name := range append(base.Unpacks(), Snapshotter) {
			if !slices.Contains(result.Unpacks(), name) {
				fail("unpack_config has no %q in the result: a file that is read after the drop-in sets it", name)
			}
		}
	}
	for _, d := range differences(base.tree, result.tree, nil) {
		if d[0] != "imports" && d[0] != "version" && !slices.ContainsFunc(c.touched, func(t []string) bool {
			return len(d) >= len(t) && slices.Equal(d[:len(t)], t)
		}) {
			fail("%s would change", strings.Join(d, "."))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("a drop-in %s cannot do it: %w: %w", path, errors.Join(errs...), errdefs.ErrFailedPrecondition)
}

// differences returns the paths at which two trees differ, sorted within a table.
func differences(a, b map[string]any, at []string) [][]string {
	var all [][]string
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for _, k := range sorted(keys) {
		path := append(slices.Clone(at), k)
		left, lok := a[k].(map[string]any)
		right, rok := b[k].(map[string]any)
		switch {
		case lok && rok, lok && b[k] == nil, rok && a[k] == nil:
			all = append(all, differences(left, right, path)...)
		case fmt.Sprint(a[k]) != fmt.Sprint(b[k]):
			all = append(all, path)
		}
	}
	return all
}

// mirror adds the changes of certs.d.
func (p *Plan) mirror(result Merged, o Options) error {
	asked := map[string]bool{}
	var roots []string
	for _, list := range [][]string{result.CRIHostsDirs(), result.TransferHostsDirs(), {o.HostsDir}} {
		if len(list) == 0 || len(roots) > 0 && slices.Equal(list, []string{o.HostsDir}) {
			continue // the last is for containerds that name no directory: nerdctl looks there
		}
		root, err := rootFor(list)
		if err != nil {
			return err
		}
		if root, err = resolved(root); err != nil {
			return err
		}
		if !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	for _, root := range roots {
		if err := p.defaultHost(root, o.Mirror); err != nil {
			return err
		}
		if err := p.ownHosts(root, o, asked); err != nil {
			return err
		}
	}
	for _, h := range o.Hosts {
		if !asked[h] {
			p.Notes = append(p.Notes, fmt.Sprintf("%s has no hosts.toml of its own in %s: it goes through the mirror by _default.", h, strings.Join(roots, ", ")))
		}
	}
	return nil
}

// rootFor returns the directory of a list in which a _default hides no registry's
// own directory: containerd asks the first directory that has either.
func rootFor(list []string) (string, error) {
	for i, root := range list {
		if _, err := os.Stat(filepath.Join(root, "_default")); err == nil {
			return root, nil
		}
		hides := false
		for _, later := range list[i+1:] {
			names, err := directories(later)
			if err != nil {
				return "", err
			}
			hides = hides || len(names) > 0
		}
		if !hides {
			return root, nil
		}
	}
	return list[len(list)-1], nil
}

func (p *Plan) defaultHost(root, mirror string) error {
	path, err := resolved(filepath.Join(root, "_default", "hosts.toml"))
	if err != nil {
		return err
	}
	before, err := view{}.read(path)
	if err != nil {
		return fmt.Errorf("read certs.d: %w", err)
	}
	if before == nil {
		if certs, err := certificates(filepath.Dir(path)); err != nil || certs {
			p.Notes = append(p.Notes, fmt.Sprintf("%s holds certificates and no hosts.toml, which containerd would then not read: write a hosts.toml with its ca and client lines, and run init again.", filepath.Dir(path)))
			return err
		}
		p.add(path, nil, defaultHosts(mirror))
		return nil
	}
	return p.addTo(path, before, mirror)
}

// ownHosts adds the mirror to registries with a directory of their own, as asked, and
// says which others go past it.
func (p *Plan) ownHosts(root string, o Options, asked map[string]bool) error {
	names, err := directories(root)
	if err != nil {
		return err
	}
	var past []string
	for _, name := range names {
		if name == "_default" {
			continue
		}
		wanted := o.AllHosts
		for _, h := range o.Hosts {
			if name == h || name == hostDirectory(h) {
				asked[h], wanted = true, true
			}
		}
		path, err := resolved(filepath.Join(root, name, "hosts.toml"))
		if err != nil {
			return err
		}
		before, err := view{}.read(path)
		if err != nil {
			return fmt.Errorf("read certs.d: %w", err)
		}
		switch {
		case before != nil && UsesMirror(before, o.Mirror):
		case !wanted:
			past = append(past, name)
		case before == nil:
			p.Notes = append(p.Notes, fmt.Sprintf("%s holds no hosts.toml, and containerd takes its certificates only as long as there is none: write one with their ca and client lines, and run init again.", filepath.Dir(path)))
		default:
			if err := p.addTo(path, before, o.Mirror); err != nil {
				return err
			}
		}
	}
	if len(past) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s in %s have settings of their own and go past the mirror: --mirror-host HOST or --all adds it to them.", strings.Join(past, ", "), root))
	}
	return nil
}

func (p *Plan) addTo(path string, before []byte, mirror string) error {
	after, err := addMirror(before, mirror)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.add(path, before, after)
	return nil
}

// directories returns the names of a directory's directories; none of one that does
// not exist.
func directories(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read certs.d: %w", err)
	}
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(root, e.Name())); err == nil && info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// certificates reports whether a directory holds files that containerd reads where
// there is no hosts.toml.
func certificates(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read certs.d: %w", err)
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return slices.Contains([]string{".crt", ".cert", ".key"}, filepath.Ext(e.Name()))
	}), nil
}

// hostDirectory is the name that containerd looks for first: "host:port" is "host_port_".
func hostDirectory(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		return host[:i] + "_" + host[i+1:] + "_"
	}
	return host
}

func sorted(set map[string]bool) []string {
	var all []string
	for k := range set {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
