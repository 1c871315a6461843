package arch

import (
	"slices"
	"strings"
)

// pure lists the step-function packages: no socket, disk, clock, goroutine or log.
// The vocabulary is one of them, for all of them import it.
var pure = []string{
	"p2p",
	"p2p/picker",
	"p2p/download",
	"p2p/upload",
	"scheduler/swarm",
	"scheduler/rank",
	"scheduler/tags",
	"plugin/snapshot/ahead",
}

// Parts of the picture. A folder's shell and its pure packages are two parts.
const (
	cmd           = "cmd"
	integration   = "integration"
	plugin        = "plugin"
	fetcher       = "fetcher"
	node          = "p2p shell"
	nodePure      = "p2p pure"
	vocabulary    = "p2p vocabulary"
	scheduler     = "scheduler shell"
	schedulerPure = "scheduler pure"
	manager       = "manager"
	api           = "api"
	internal      = "internal"
)

// allowed says which parts a part may import. It is the picture of the design:
// arrows go down, never up or sideways.
var allowed = map[string][]string{
	integration: {
		integration, cmd, plugin, fetcher, node, nodePure, vocabulary,
		scheduler, schedulerPure, manager, api, internal,
	},
	cmd: {
		cmd, plugin, fetcher, node, nodePure, vocabulary,
		scheduler, schedulerPure, manager, api, internal,
	},
	plugin:        {plugin, fetcher, node, nodePure, vocabulary, api, internal},
	fetcher:       {fetcher, node, nodePure, vocabulary, api, internal},
	node:          {node, nodePure, vocabulary, api, internal},
	nodePure:      {nodePure, vocabulary, api, internal},
	scheduler:     {scheduler, schedulerPure, vocabulary, api, internal},
	schedulerPure: {schedulerPure, vocabulary, api, internal},
	manager:       {manager, vocabulary, api, internal},
	vocabulary:    nil,
	api:           nil,
	internal:      nil,
}

// exceptions are single edges allowed beside the picture, from → to. Keep it short.
var exceptions = map[[2]string]bool{
	// Schedulers and nodes follow the manager alike.
	{"internal/dynamic", "api/manager/v1"}: true,
	// So they do to become members.
	{"internal/join", "api/join/v1"}:  true,
	{"internal/join", "internal/pki"}: true,
	// What is kept is written alike.
	{"internal/dynamic", "internal/durable"}: true,
	{"internal/join", "internal/durable"}:    true,
	{"internal/pki", "internal/durable"}:     true,
}

// partOf returns the part that a package, relative to the module, belongs to,
// and "" if there is none.
func partOf(rel string) string {
	first, _, _ := strings.Cut(rel, "/")
	switch first {
	case cmd, integration, plugin, fetcher, manager, api, internal:
		return first
	case "p2p":
		switch {
		case rel == "p2p":
			return vocabulary
		case isPure(rel):
			return nodePure
		}
		return node
	case "scheduler":
		if isPure(rel) {
			return schedulerPure
		}
		return scheduler
	}
	return ""
}

// mayImport reports whether one package of ours may import another.
func mayImport(from, to string) bool {
	return slices.Contains(allowed[partOf(from)], partOf(to)) || exceptions[[2]string{from, to}]
}

func isPure(rel string) bool { return slices.Contains(pure, rel) }

// isContainerdCore reports whether a package belongs to containerd itself, its
// API or nydus-snapshotter. The leaf modules log, errdefs and platforms do not.
func isContainerdCore(path string) bool {
	return under(path, "github.com/containerd/containerd") ||
		under(path, "github.com/containerd/nydus-snapshotter")
}

// mayLinkContainerd reports whether a package may import containerd itself.
func mayLinkContainerd(rel string) bool {
	return under(rel, plugin) || under(rel, integration)
}

// throughPluginOnly reports whether a package may contain containerd because
// it imports a plugin package, but must not import containerd itself. The
// scheduler's and the manager's binaries do not contain it at all.
func throughPluginOnly(rel string) bool {
	return under(rel, cmd) && !under(rel, "cmd/darter-scheduler") && !under(rel, "cmd/darter-manager")
}

// isImpureImport reports whether a package is one that pure packages do without.
func isImpureImport(path string) bool {
	if path == "net/netip" || path == "net/url" { // values, not sockets
		return false
	}
	return slices.ContainsFunc(impureImports, func(root string) bool { return under(path, root) })
}

// impureImports are roots: what is below them counts too.
var impureImports = []string{
	"net", "os", "syscall", "crypto/rand", "crypto/tls", // sockets, disks, chance
	"log", "github.com/containerd/log", "github.com/sirupsen/logrus",
	"sync", "golang.org/x/sync", "runtime",
	"golang.org/x/sys", "golang.org/x/net", "google.golang.org/grpc",
	"github.com/prometheus/client_golang", "go.opentelemetry.io",
}

// emptyNames are package names that tell a reader nothing.
var emptyNames = map[string]bool{
	"util": true, "utils": true, "common": true, "base": true,
	"helper": true, "helpers": true, "types": true, "misc": true, "shared": true,
}

// under reports whether path is root or below it.
func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}
