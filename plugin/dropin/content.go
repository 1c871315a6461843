package dropin

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/pelletier/go-toml/v2"
)

// header is the beginning of the drop-in.
const header = `# Written by "darter init containerd"; "darter init containerd --remove" takes it away.
# Run init again after a change of containerd's other files: lists (unpack_config), and
# in containerd 1.x all settings of a plugin, replace those of the files before this one.

`

// content is the drop-in to be.
type content struct {
	version int // of the drop-in's format
	tree    map[string]any
	// settings are what the merged configuration is to have, and all that may change in it.
	settings []setting
	// notes are sentences for the operator.
	notes []string
}

// setting is a value and its place in the merged configuration.
type setting struct {
	path  []string
	value any
}

func (c *content) set(v any, path ...string) { c.setAt(path, v, path) }

// setAt sets what has another place in the drop-in than in the merged configuration.
func (c *content) setAt(at []string, v any, path []string) {
	put(c.tree, v, at...)
	c.settings = append(c.settings, setting{path, v})
}

func (c *content) note(format string, a ...any) { c.notes = append(c.notes, fmt.Sprintf(format, a...)) }

func (c *content) text() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	if err := toml.NewEncoder(&b).SetIndentTables(true).Encode(c.tree); err != nil {
		return nil, fmt.Errorf("write the drop-in: %w", err)
	}
	return b.Bytes(), nil
}

// compute returns the drop-in of a version for a configuration that has none. all
// are the files that base is the merge of.
func compute(base Merged, all []source, version int, o Options) *content {
	c := &content{version: version, tree: map[string]any{"version": int64(version)}}
	c.plugin(base, o)
	if base.Version() == 2 {
		for _, p := range []string{transferPlugin, criPlugin2} {
			put(c.tree, section(all, p), "plugins", p)
		}
	}
	if base.HasTransfer() {
		c.transfer(base, o)
	}
	if base.HasCRI() {
		c.cri(base, o)
	}
	if base.Version() == 2 { // what this changes nothing of is left to the other files
		plugins, _ := get[map[string]any](c.tree, "plugins")
		maps.DeleteFunc(plugins, func(plugin string, _ any) bool {
			return !slices.ContainsFunc(c.settings, func(s setting) bool { return len(s.path) > 1 && s.path[1] == plugin })
		})
	}
	return c
}

// dropInVersions returns the versions that a drop-in may have, the best first. It is
// the main file's: a drop-in of a higher one is an error in containerd 2.3, and loses
// the main file's settings before. Files older than all of those are tried with both.
func dropInVersions(base Merged, all []source) ([]int, error) {
	if len(all) == 0 {
		return []int{base.Version()}, nil
	}
	switch main := versionOf(all[0].tree); {
	case base.Version() > 2 && main > 2:
		return []int{min(main, base.Version())}, nil
	case base.Version() > 2 && main == 2:
		return []int{2, 3}, nil
	case base.Version() > 2:
		return []int{3, 2}, nil
	case main == 2:
		return []int{2}, nil
	}
	return nil, fmt.Errorf("%s has no \"version = 2\": convert it first, by hand or by \"containerd config migrate\": %w", all[0].path, errdefs.ErrFailedPrecondition)
}

func (c *content) plugin(base Merged, o Options) {
	entry := map[string]any{
		"type":    "snapshot",
		"address": o.Socket,
		"exports": map[string]any{"enable_remote_snapshot_annotations": "true", "root": o.Root},
	}
	if base.Version() > 2 {
		// As containerd's own overlayfs says of itself. Never "rebase": with it Prepare
		// is not given the parent of the snapshot that it answers by ErrAlreadyExists.
		capabilities := []any{"only-remap-ids"} // it does not copy files to change their owners
		if o.RemapIDs {
			capabilities = append(capabilities, "remap-ids")
		}
		entry["capabilities"] = capabilities
	}
	c.set(entry, "proxy_plugins", Snapshotter)
}

// transfer makes the transfer service unpack into darter, and into all that it
// unpacks into now: the list replaces the one before.
func (c *content) transfer(base Merged, o Options) {
	var entries []any
	told := base.unpackConfig()
	for _, e := range told {
		entries = append(entries, e)
	}
	if len(told) == 0 {
		entries = defaultUnpacks(base)
	}
	if !slices.Contains(base.Unpacks(), Snapshotter) {
		entry := map[string]any{"platform": platforms.Format(platforms.DefaultSpec()), "snapshotter": Snapshotter, "differ": defaults.DefaultDiffer}
		if base.Version() > 3 {
			entry["optional"] = true // without darter's plugin the service starts all the same
		}
		c.set(append(entries, entry), "plugins", transferPlugin, "unpack_config")
	}
	if len(base.TransferHostsDirs()) == 0 {
		c.set(o.HostsDir, "plugins", transferPlugin, "config_path")
	}
}

// defaultUnpacks is what containerd takes when it is told nothing; a dump does not
// show it.
func defaultUnpacks(base Merged) []any {
	spec := platforms.DefaultSpec()
	list := []any{map[string]any{"platform": platforms.Format(spec), "snapshotter": defaults.DefaultSnapshotter, "differ": defaults.DefaultDiffer}}
	if _, ok := get[map[string]any](base.tree, "plugins", erofsPlugin); ok && base.Version() > 3 {
		spec.OSFeatures = []string{"erofs"}
		list = append(list, map[string]any{"platform": platforms.FormatAll(spec), "snapshotter": "erofs", "differ": "erofs", "optional": true})
	}
	return list
}

func (c *content) cri(base Merged, o Options) {
	cri, _ := base.cri()
	if old := base.CRIOldRegistry(); old != "" && len(base.CRIHostsDirs()) == 0 {
		c.note("CRI pulls do not go through the mirror: %s is set, and containerd refuses it together with a certs.d directory. Write hosts.toml files for it, take it out, and run init again.", old)
	} else if len(base.CRIHostsDirs()) == 0 {
		path := []string{"registry", "config_path"}
		c.setAt(c.criPath(path), o.HostsDir, cri.path(path))
	}
	if o.CRI && base.CRISnapshotter() != Snapshotter {
		c.setCRI(cri, "snapshotter", Snapshotter)
		c.note("CRI will use the snapshotter darter: images that it has now are pulled again when they are used. Drain the node before containerd is restarted.")
	}
	reason, local := base.CRILocalPull()
	if !local || !o.CRI && base.CRISnapshotter() != Snapshotter {
		return
	}
	if !base.CRIAnnotates() {
		c.setCRI(cri, "disable_snapshot_annotations", false)
	}
	if !strings.HasPrefix(reason, "this version") && reason != "disable_snapshot_annotations = false" {
		c.note("CRI pulls by itself and not by the transfer service (%s): darter gets the layers all the same.", reason)
	}
}

// setCRI sets a key about snapshotters, which version 2 has in a table of its own.
func (c *content) setCRI(merged cri, key string, v any) {
	at := c.criPath([]string{key})
	if c.version == 2 {
		at = c.criPath([]string{"containerd", key})
		// Migration takes these keys only from where runtimes are, too; none is enough.
		if runtimes := c.criPath([]string{"containerd", "runtimes"}); merged.plugin != criPlugin2 {
			put(c.tree, map[string]any{}, runtimes...)
		}
	}
	c.setAt(at, v, merged.path(merged.at(key)))
}

// criPath is the place of CRI's settings in the drop-in.
func (c *content) criPath(path []string) []string {
	plugin := criPlugin3
	if c.version == 2 {
		plugin = criPlugin2
	}
	return append([]string{"plugins", plugin}, path...)
}
