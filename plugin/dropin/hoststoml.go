package dropin

import (
	"fmt"
	"reflect"
	"regexp"

	"github.com/containerd/errdefs"
)

// mirrorTable is what a hosts.toml says of the mirror. Dialling this node needs no
// longer; a darterd that is not there is passed over at once in any case.
func mirrorTable(mirror string) string {
	return "[host." + quote(mirror) + "]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"1s\"\n"
}

// defaultHosts is the _default/hosts.toml of a node that had none.
func defaultHosts(mirror string) []byte {
	return []byte(`# Written by "darter init containerd": every registry through this node's darterd.
# There is no "server" line: what darterd does not give (or a darterd that is not
# running) is fetched from the image's own registry.

` + mirrorTable(mirror))
}

var hostKey = regexp.MustCompile(`^(host|"host"|'host')[ \t]*[.=]`)

// addMirror returns a hosts.toml in which the mirror is asked before all other hosts,
// and all other bytes are as they are. A file that names the mirror already is
// returned as it is. A file in which that cannot be done is ErrFailedPrecondition,
// one that is no TOML ErrInvalidArgument.
func addMirror(text []byte, mirror string) ([]byte, error) {
	before, err := decode(text)
	if err != nil {
		return nil, err
	}
	if _, ok := get[map[string]any](before, "host", mirror); ok {
		return text, nil
	}
	byHand := fmt.Errorf("add the mirror by hand, as the first host: %q: %w", mirrorTable(mirror), errdefs.ErrFailedPrecondition)
	statements, at := rootTable(text)
	for _, s := range statements {
		if hostKey.Match(text[s.start:s.end]) {
			return nil, byHand // containerd asks it first, and a second [host] cannot be
		}
	}
	// A comment just above the first table is about that table.
	for at > 0 && at < len(text) {
		line := lineStart(text, at-1)
		if text[line] != '#' {
			break
		}
		at = line
	}
	table := mirrorTable(mirror)
	switch {
	case at < len(text):
		table += "\n"
	case at > 0:
		table = "\n" + table
		if text[at-1] != '\n' {
			table = "\n" + table
		}
	}
	after := splice(text, at, at, table)

	tree, err := decode(after)
	if err != nil {
		return nil, byHand
	}
	hosts, _ := get[map[string]any](tree, "host")
	delete(hosts, mirror)
	if len(hosts) == 0 {
		delete(tree, "host")
	}
	if old, ok := get[map[string]any](before, "host"); ok && len(old) == 0 {
		delete(before, "host")
	}
	if !reflect.DeepEqual(tree, before) {
		return nil, byHand
	}
	return after, nil
}

// UsesMirror reports whether a hosts.toml names the mirror.
func UsesMirror(text []byte, mirror string) bool {
	tree, err := decode(text)
	_, ok := get[map[string]any](tree, "host", mirror)
	return err == nil && ok
}
