package dropin

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// maxConfig bounds what is decoded of a configuration, in bytes.
const maxConfig = 16 << 20

// Plugins of containerd whose settings matter here.
const (
	transferPlugin = "io.containerd.transfer.v1.local"
	criPlugin2     = "io.containerd.grpc.v1.cri"   // of configuration version 2
	criPlugin3     = "io.containerd.cri.v1.images" // of versions 3 and 4
	erofsPlugin    = "io.containerd.snapshotter.v1.erofs"
)

// Merged is a configuration as containerd uses it, after defaults, imports and
// migration: what "containerd config dump" prints.
type Merged struct{ tree map[string]any }

// ParseMerged reads a dump. A dump that is no TOML, too long, or of a version that
// is not 2, 3 or 4 is ErrInvalidArgument.
func ParseMerged(data []byte) (Merged, error) {
	tree, err := decode(data)
	if err != nil {
		return Merged{}, fmt.Errorf("merged configuration: %w", err)
	}
	m := Merged{tree}
	if v := m.Version(); v < 2 || v > 4 {
		return Merged{}, fmt.Errorf("merged configuration: version %d, want 2, 3 or 4: %w", v, errdefs.ErrInvalidArgument)
	}
	return m, nil
}

func decode(data []byte) (map[string]any, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%d bytes, want at most %d: %w", len(data), maxConfig, errdefs.ErrInvalidArgument)
	}
	tree := map[string]any{}
	if err := toml.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return tree, nil
}

// Version is the version of the configuration's format: 2 for containerd 1.x,
// 3 for 2.0 to 2.2, 4 after that.
func (m Merged) Version() int { return versionOf(m.tree) }

func versionOf(tree map[string]any) int {
	v, _ := get[int64](tree, "version")
	return int(v)
}

// ProxyPlugin is an entry of proxy_plugins.
type ProxyPlugin struct {
	Type, Address string
	Exports       map[string]string
	Capabilities  []string
}

// ProxyPlugin returns the proxy plugin of a name.
func (m Merged) ProxyPlugin(name string) (ProxyPlugin, bool) {
	t, ok := get[map[string]any](m.tree, "proxy_plugins", name)
	if !ok {
		return ProxyPlugin{}, false
	}
	p := ProxyPlugin{Exports: map[string]string{}}
	p.Type, _ = get[string](t, "type")
	p.Address, _ = get[string](t, "address")
	exports, _ := get[map[string]any](t, "exports")
	for k, v := range exports {
		p.Exports[k] = fmt.Sprint(v)
	}
	capabilities, _ := get[[]any](t, "capabilities")
	for _, c := range capabilities {
		p.Capabilities = append(p.Capabilities, fmt.Sprint(c))
	}
	return p, true
}

// HasTransfer reports whether this containerd has the transfer service, which pulls
// for its clients. Versions before 1.7 have not.
func (m Merged) HasTransfer() bool {
	_, ok := get[map[string]any](m.tree, "plugins", transferPlugin)
	return ok
}

// Unpacks returns the snapshotters that the transfer service is told to unpack
// into. None is told where the list is containerd's own default.
func (m Merged) Unpacks() []string {
	var names []string
	for _, e := range m.unpackConfig() {
		s, _ := get[string](e, "snapshotter")
		names = append(names, s)
	}
	return names
}

func (m Merged) unpackConfig() []map[string]any {
	list, _ := get[[]any](m.tree, "plugins", transferPlugin, "unpack_config")
	var entries []map[string]any
	for _, e := range list {
		if t, ok := e.(map[string]any); ok {
			entries = append(entries, t)
		}
	}
	return entries
}

// TransferHostsDirs are the certs.d directories of the transfer service, in the
// order in which they are asked.
func (m Merged) TransferHostsDirs() []string {
	s, _ := get[string](m.tree, "plugins", transferPlugin, "config_path")
	return splitPath(s)
}

// cri is the image half of CRI's settings and where its keys are.
type cri struct {
	plugin   string
	settings map[string]any
	nested   []string // the table of the keys about snapshotters
}

func (m Merged) cri() (cri, bool) {
	c := cri{plugin: criPlugin3}
	if m.Version() == 2 {
		c.plugin, c.nested = criPlugin2, []string{"containerd"}
	}
	var ok bool
	c.settings, ok = get[map[string]any](m.tree, "plugins", c.plugin)
	return c, ok
}

// path is the place of a setting in the merged configuration.
func (c cri) path(path []string) []string { return append([]string{"plugins", c.plugin}, path...) }

func (c cri) at(key string) []string { return append(slices.Clone(c.nested), key) }

// HasCRI reports whether CRI's image service is configured.
func (m Merged) HasCRI() bool { _, ok := m.cri(); return ok }

// CRISnapshotter is the snapshotter that CRI uses where a runtime names none; "" without CRI.
func (m Merged) CRISnapshotter() string {
	c, _ := m.cri()
	s, _ := get[string](c.settings, c.at("snapshotter")...)
	return s
}

// CRIAnnotates reports whether a CRI that pulls locally passes the labels that a
// snapshotter needs to find layers.
func (m Merged) CRIAnnotates() bool {
	c, ok := m.cri()
	disabled, _ := get[bool](c.settings, c.at("disable_snapshot_annotations")...)
	return ok && !disabled
}

// CRIHostsDirs are the certs.d directories of CRI, in the order in which they are asked.
func (m Merged) CRIHostsDirs() []string {
	c, _ := m.cri()
	s, _ := get[string](c.settings, "registry", "config_path")
	return splitPath(s)
}

// CRILocalPull says why CRI pulls by itself and not by the transfer service, and
// reports whether it does. disable_snapshot_annotations = false is not named as a
// reason, for it is also what a local pull needs.
func (m Merged) CRILocalPull() (reason string, local bool) {
	c, ok := m.cri()
	if !ok {
		return "", false
	}
	use, known := get[bool](c.settings, "use_local_image_pull")
	if !known {
		return "this version always does", true
	}
	if use {
		return "use_local_image_pull = true", true
	}
	for _, key := range []string{"discard_unpacked_layers", "image_pull_with_sync_fs"} {
		if on, _ := get[bool](c.settings, key); on {
			return key + " = true", true
		}
	}
	for _, key := range []string{"mirrors", "configs", "auths"} {
		if t, _ := get[map[string]any](c.settings, "registry", key); len(t) > 0 {
			return "registry." + key + " is set", true
		}
	}
	if n, ok := get[int64](c.settings, "max_concurrent_downloads"); ok && n != 3 {
		return fmt.Sprintf("max_concurrent_downloads = %d", n), true
	}
	if m.CRIAnnotates() {
		return "disable_snapshot_annotations = false", true
	}
	return "", false
}

// CRIOldRegistry names the old setting that cannot be together with a certs.d
// directory; "" if there is none.
func (m Merged) CRIOldRegistry() string {
	c, _ := m.cri()
	if t, _ := get[map[string]any](c.settings, "registry", "mirrors"); len(t) > 0 {
		return "registry.mirrors"
	}
	configs, _ := get[map[string]any](c.settings, "registry", "configs")
	for _, v := range configs {
		if t, ok := v.(map[string]any); ok && t["tls"] != nil {
			return "registry.configs.*.tls"
		}
	}
	return ""
}

func splitPath(s string) []string {
	return slices.DeleteFunc(filepath.SplitList(s), func(p string) bool { return p == "" })
}

// get returns the value at a path of keys, if it is there and of that type.
func get[T any](tree map[string]any, path ...string) (T, bool) {
	var v any = tree
	for _, k := range path {
		t, ok := v.(map[string]any)
		if !ok {
			var zero T
			return zero, false
		}
		v = t[k]
	}
	t, ok := v.(T)
	return t, ok
}

// put sets the value at a path of keys, and makes the tables on the way.
func put(tree map[string]any, v any, path ...string) {
	for _, k := range path[:len(path)-1] {
		next, ok := tree[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[k] = next
		}
		tree = next
	}
	tree[path[len(path)-1]] = v
}
