// Package doctor examines a node: darterd, its certificate and store, containerd and
// how it uses darter. It asks and looks only, but for one overlay mount below
// darterd's snapshots that it takes away at once. Every finding that is not well says
// what to do.
package doctor

import (
	"context"
	"time"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/plugin/dropin"
	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// Level is how well something is.
type Level string

// Levels of a Finding, best first.
const (
	OK   Level = "ok"
	Skip Level = "skip" // there is nothing to look at, or no way to
	Warn Level = "warn" // darter works, but less well than it could
	Fail Level = "fail"
)

// Finding is what a check found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// Node is what is examined.
type Node struct {
	// Containerd says where containerd and darterd's doors are, as for init.
	Containerd dropin.Options
	// Address is containerd's socket.
	Address string
	// Kubelet is the kubelet's configuration file; a node may have none.
	Kubelet string

	Config     string // darterd's file, for messages
	TLS        pki.Files
	Seed       bool
	Snapshots  bool // the snapshot door is on
	PeerListen string
	Schedulers []string
	// Status asks darterd.
	Status func(context.Context) (darterdv1.Status, error)
	// Lazy asks darter-rafs, which mounts Nydus images; nil = none is configured.
	Lazy func(context.Context) (client.Status, error)
	Now  time.Time
}

// facts are what several checks look at; each is asked for once.
type facts struct {
	Node
	status    darterdv1.Status
	statusErr error
	version   string // of containerd
	versErr   error
	merged    dropin.Merged
	mergedErr error
}

// check is one thing to look at.
type check struct {
	name string
	look func(*facts, context.Context) Finding
}

// checks returns all of them, from darterd outwards.
func checks() []check {
	return []check{
		{"darterd", (*facts).darterd},
		{"scheduler", (*facts).scheduler},
		{"certificate", (*facts).certificate},
		{"store", (*facts).store},
		{"ports", (*facts).ports},
		{"containerd", (*facts).containerd},
		{"plugin configured", (*facts).pluginConfigured},
		{"plugin loaded", (*facts).pluginLoaded},
		{"plugin answers", (*facts).pluginAnswers},
		{"unpack_config", (*facts).unpackConfig},
		{"CRI", (*facts).cri},
		{"mirror", (*facts).mirror},
		{"drop-in", (*facts).dropIn},
		{"overlay", (*facts).overlay},
		{"Nydus images", (*facts).lazy},
		{"systemd", (*facts).systemd},
	}
}

// Examine runs all checks, in order.
func Examine(ctx context.Context, n Node) []Finding {
	f := &facts{Node: n}
	f.status, f.statusErr = n.Status(ctx)
	if f.version, f.versErr = dropin.Version(ctx, n.Containerd.Binary); f.versErr == nil {
		f.merged, f.mergedErr = dropin.Dump(ctx, n.Containerd.Binary, n.Containerd.Config)
	} else {
		f.mergedErr = f.versErr
	}
	var all []Finding
	for _, c := range checks() {
		found := c.look(f, ctx)
		found.Check = c.name
		all = append(all, found)
	}
	return all
}

// Worst is the worst level of findings.
func Worst(all []Finding) Level {
	rank := map[Level]int{Skip: 0, OK: 1, Warn: 2, Fail: 3}
	worst := Skip
	for _, f := range all {
		if rank[f.Level] > rank[worst] {
			worst = f.Level
		}
	}
	return worst
}
