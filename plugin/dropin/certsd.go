package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

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
