package dropin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// trial finds the drop-in that does what is wanted and nothing else, by having
// containerd merge it before it is written.
type trial struct {
	o         Options
	main      string // containerd's main file, and what it will be
	mainAfter []byte
	path      string // of the drop-in
	base      Merged // the configuration without it
	all       []source

	// The drop-in found, and what containerd makes of it.
	content *content
	text    []byte
	result  Merged
}

// run takes the first version of a drop-in that containerd merges as wanted. The
// error is about the first.
func (t *trial) run(ctx context.Context) error {
	versions, err := dropInVersions(t.base, t.all)
	if err != nil {
		return err
	}
	var first error
	for _, v := range versions {
		if err := t.try(ctx, v); err == nil || ctx.Err() != nil {
			return err
		} else if first == nil {
			first = err
		}
	}
	return first
}

func (t *trial) try(ctx context.Context, version int) error {
	t.content = compute(t.base, t.all, version, t.o)
	var err error
	if t.text, err = t.content.text(); err != nil {
		return err
	}
	all, err := view{t.path: t.text, t.main: t.mainAfter}.sources(t.main)
	if err != nil {
		return err
	}
	if t.result, err = dump(ctx, t.o.containerd(), all); err != nil {
		return fmt.Errorf("containerd does not take the drop-in: %w", err)
	}
	return t.prove()
}

// prove reports what the result of the merge has not that it should have, or has
// changed that it should not.
func (t *trial) prove() error {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	const why = "a file that is read after the drop-in sets it"
	for _, s := range t.content.settings {
		got, _ := get[any](t.result.tree, s.path...)
		switch s.value.(type) {
		case string, bool:
			if got != s.value {
				fail("%s is %v in the result, want %v: %s", strings.Join(s.path, "."), got, s.value, why)
			}
		}
	}
	if got, _ := t.result.ProxyPlugin(Snapshotter); got.Address != t.o.Socket {
		fail("proxy_plugins.%s is at %q in the result, want %q: %s", Snapshotter, got.Address, t.o.Socket, why)
	}
	if t.base.HasTransfer() {
		entries := t.result.unpackConfig()
		for _, e := range t.base.unpackConfig() {
			if !slices.ContainsFunc(entries, func(got map[string]any) bool { return fmt.Sprint(got) == fmt.Sprint(e) }) {
				fail("unpack_config has not %v any more in the result: %s", e, why)
			}
		}
		if !slices.Contains(t.result.Unpacks(), Snapshotter) {
			fail("unpack_config has no %q in the result: %s", Snapshotter, why)
		}
	}
	for _, d := range differences(t.base.tree, t.result.tree, nil) {
		if d[0] != "imports" && d[0] != "version" && !slices.ContainsFunc(t.content.settings, func(s setting) bool {
			return len(d) >= len(s.path) && slices.Equal(d[:len(s.path)], s.path)
		}) {
			fail("%s would change", strings.Join(d, "."))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("a drop-in %s cannot do it: %w: %w", t.path, errors.Join(errs...), errdefs.ErrFailedPrecondition)
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

func sorted(set map[string]bool) []string {
	var all []string
	for k := range set {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
