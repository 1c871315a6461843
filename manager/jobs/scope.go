package jobs

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Node is a node or a seed that may do a part of a job.
type Node struct {
	Name     string // in its certificate
	Seed     bool
	Up       bool   // as far as the manager knows
	IP       string // "" = not known
	Hostname string
	Address  string // host:port of its job service
}

// Select returns the nodes that a job is done on, by name. Those that are down are in it:
// the job says so of each. Of one seed, an up one is preferred. The choice of a count or
// percentage is the same at each attempt of a job, and another for each job.
func (a *Args) Select(job int64, all []Node) ([]Node, error) {
	var chosen []Node
	missing := slices.Clone(a.IPs)
	for _, n := range all {
		if !n.Seed && a.Scope != AllPeers {
			continue
		}
		if len(a.IPs) > 0 {
			i := slices.IndexFunc(a.IPs, func(ip string) bool { return sameIP(ip, n.IP) })
			if i < 0 {
				continue
			}
			missing = slices.DeleteFunc(missing, func(ip string) bool { return sameIP(ip, n.IP) })
		}
		chosen = append(chosen, n)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no node of the cluster has the address %s: %w", strings.Join(missing[:min(len(missing), 20)], ", "), errdefs.ErrNotFound)
	}
	slices.SortFunc(chosen, func(x, y Node) int {
		return cmp.Or(rank(job, x.Name, x.Up).compare(rank(job, y.Name, y.Up)), cmp.Compare(x.Name, y.Name))
	})
	if len(chosen) > 0 {
		chosen = chosen[:a.bound(len(chosen))]
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("the cluster has no node of scope %s: %w", a.Scope, errdefs.ErrFailedPrecondition)
	}
	slices.SortFunc(chosen, func(x, y Node) int { return cmp.Compare(x.Name, y.Name) })
	return chosen, nil
}

// bound is how many of n nodes are taken.
func (a *Args) bound(n int) int {
	switch {
	case a.Scope == OneSeed:
		return 1
	case a.Count > 0:
		return min(n, a.Count)
	case a.Percentage > 0:
		return (n*a.Percentage + 99) / 100
	}
	return n
}

// order is a node's place among those of which a job takes some.
type order struct {
	down bool
	hash uint64
}

func rank(job int64, name string, up bool) order {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", job, name)
	return order{!up, h.Sum64()}
}

func (o order) compare(p order) int {
	if o.down != p.down {
		if o.down {
			return 1
		}
		return -1
	}
	return cmp.Compare(o.hash, p.hash)
}

// sameIP compares addresses, not their spelling.
func sameIP(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Unmap() == y.Unmap()
}

// resolvers returns the nodes that may resolve an image, seeds that are up first.
func resolvers(job int64, all []Node) []Node {
	var up []Node
	for _, n := range all {
		if n.Up {
			up = append(up, n)
		}
	}
	slices.SortFunc(up, func(x, y Node) int {
		if x.Seed != y.Seed {
			if x.Seed {
				return -1
			}
			return 1
		}
		return cmp.Or(rank(job, x.Name, true).compare(rank(job, y.Name, true)), cmp.Compare(x.Name, y.Name))
	})
	return up
}
