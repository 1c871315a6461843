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
	tree map[string]any
	// touched are the settings of the merged configuration that it may change.
	touched [][]string
	// notes are sentences for the operator.
	notes []string
}

func (c *content) set(v any, path ...string) {
	put(c.tree, v, path...)
	c.touched = append(c.touched, path)
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

// compute returns the drop-in for a configuration that has none. all are the files
// that base is the merge of.
func compute(base Merged, all []source, o Options) (*content, error) {
	c := &content{tree: map[string]any{}}
	version, err := dropInVersion(base, all)
	if err != nil {
		return nil, err
	}
	c.tree["version"] = int64(version)
	c.plugin(base, o)
	if version == 2 {
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
	// What this changes nothing of is left to the other files.
	plugins, _ := get[map[string]any](c.tree, "plugins")
	maps.DeleteFunc(plugins, func(plugin string, _ any) bool {
		return !slices.ContainsFunc(c.touched, func(p []string) bool { return len(p) > 1 && p[1] == plugin })
	})
	return c, nil
}

// dropInVersion is the main file's version, so that a containerd which reads the
// one reads the other, but 3 where a 2.x containerd reads a main file of version 2:
// it loses CRI settings of version 2 on the way.
func dropInVersion(base Merged, all []source) (int, error) {
	known := base.Version()
	if len(all) == 0 {
		return known, nil
	}
	main := versionOf(all[0].tree)
	if known == 2 {
		if main != 2 {
			return 0, fmt.Errorf("%s has no \"version = 2\": convert it first, by hand or by \"containerd config migrate\": %w", all[0].path, errdefs.ErrFailedPrecondition)
		}
		return 2, nil
	}
	return min(max(main, 3), known), nil
}

func (c *content) plugin(base Merged, o Options) {
	entry := map[string]any{
		"type":    "snapshot",
		"address": o.Socket,
		"exports": map[string]any{"enable_remote_snapshot_annotations": "true", "root": o.Root},
	}
	if base.Version() > 2 && o.RemapIDs {
		// As containerd's own overlayfs says of itself. Never "rebase": with it Prepare
		// is not given the parent of the snapshot that it answers by ErrAlreadyExists.
		entry["capabilities"] = []any{"remap-ids"}
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
	at := func(path ...string) []string { return append([]string{"plugins", cri.plugin}, path...) }
	if old := base.CRIOldRegistry(); old != "" && len(base.CRIHostsDirs()) == 0 {
		c.note("CRI pulls do not go through the mirror: %s is set, and containerd refuses it together with a certs.d directory. Write hosts.toml files for it, take it out, and run init again.", old)
	} else if len(base.CRIHostsDirs()) == 0 {
		c.set(o.HostsDir, at("registry", "config_path")...)
	}
	if o.CRI && base.CRISnapshotter() != Snapshotter {
		c.set(Snapshotter, at(cri.at("snapshotter")...)...)
		c.note("CRI will use the snapshotter darter: images that it has now are pulled again when they are used. Drain the node before containerd is restarted.")
	}
	reason, local := base.CRILocalPull()
	if !local || !o.CRI && base.CRISnapshotter() != Snapshotter {
		return
	}
	if !base.CRIAnnotates() {
		c.set(false, at(cri.at("disable_snapshot_annotations")...)...)
	}
	if !strings.HasPrefix(reason, "this version") && reason != "disable_snapshot_annotations = false" {
		c.note("CRI pulls by itself and not by the transfer service (%s): darter gets the layers all the same.", reason)
	}
}
