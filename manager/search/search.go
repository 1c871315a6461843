// Package search finds the cluster that serves a node: by the clusters' scopes, with
// Dragonfly's weights. It is pure.
package search

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/model"
)

// The weights of what matches, in hundredths.
const (
	weightCIDR     = 30
	weightHostname = 30
	weightIDC      = 25
	weightLocation = 14
	weightDefault  = 1

	// locationDepth is how many elements of a location count.
	locationDepth = 5
)

// Query is where a node is.
type Query struct {
	IP       string `json:"ip,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	IDC      string `json:"idc,omitempty"`
	Location string `json:"location,omitempty"` // "region|zone|rack"
	// Pin is the name of the cluster that the node wants whatever the scopes say.
	Pin string `json:"cluster,omitempty"`
}

// Candidate is a cluster with the number of its active schedulers.
type Candidate struct {
	Cluster    model.Cluster
	Schedulers int
}

// Answer is what a cluster is to a node.
type Answer struct {
	ClusterID int64  `json:"cluster_id"`
	Cluster   string `json:"cluster"`
	// Score is from 0, nothing matches, to 1.
	Score float64 `json:"score"`
	// Usable says that the cluster can serve the node.
	Usable bool `json:"usable"`
	// Because explains score and usability.
	Because []string `json:"because"`

	hundredths float64
}

// Rank returns every cluster, the best first: usable ones by score, of equals the one
// that was made first. Where nothing matches and there is no default, no cluster is
// usable. Where the node pins a cluster it alone can be usable; a pin that names none
// is ErrNotFound.
func Rank(q Query, clusters []Candidate) ([]Answer, error) {
	out := make([]Answer, 0, len(clusters))
	pinned := false
	for _, c := range clusters {
		a := score(q, c.Cluster)
		a.Usable = a.hundredths > 0
		if !a.Usable {
			a.Because = append(a.Because, "nothing matches")
		}
		if q.Pin != "" {
			a.Usable = c.Cluster.Name == q.Pin
			if a.Usable {
				pinned = true
				a.Because = append(a.Because, "the node pins this cluster")
			} else {
				a.Because = append(a.Because, fmt.Sprintf("the node pins %s", q.Pin))
			}
		}
		if c.Schedulers == 0 {
			a.Usable = false
			a.Because = append(a.Because, "no active scheduler")
		}
		out = append(out, a)
	}
	if q.Pin != "" && !pinned {
		return nil, fmt.Errorf("cluster: the node pins %q, which is not there: %w", q.Pin, errdefs.ErrNotFound)
	}
	slices.SortStableFunc(out, func(a, b Answer) int {
		if a.Usable != b.Usable {
			if a.Usable {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.hundredths, a.hundredths), cmp.Compare(a.ClusterID, b.ClusterID))
	})
	return out, nil
}

// score adds up what matches.
func score(q Query, c model.Cluster) Answer {
	a := Answer{ClusterID: c.ID, Cluster: c.Name, Because: []string{}}
	add := func(weight float64, format string, args ...any) {
		a.hundredths += weight
		a.Because = append(a.Because, fmt.Sprintf("+%.3g %s", weight/100, fmt.Sprintf(format, args...)))
	}
	if cidr := containing(c.Scopes.CIDRs, q.IP); cidr != "" {
		add(weightCIDR, "%s is in %s", q.IP, cidr)
	}
	if pattern := matching(c.Scopes.Hostnames, q.Hostname); pattern != "" {
		add(weightHostname, "host name %s matches %s", q.Hostname, pattern)
	}
	if idc := sameIDC(c.Scopes.IDCs, q.IDC); idc != "" {
		add(weightIDC, "IDC %s", idc)
	}
	if n := commonPrefix(c.Scopes.Location, q.Location); n > 0 {
		add(weightLocation*float64(n)/locationDepth, "%d of %d elements of the location", n, locationDepth)
	}
	if c.Default {
		add(weightDefault, "the default cluster")
	}
	a.Score = a.hundredths / 100
	return a
}

func containing(cidrs []string, ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(addr) {
			return cidr
		}
	}
	return ""
}

func matching(patterns []string, hostname string) string {
	if hostname == "" {
		return ""
	}
	for _, pattern := range patterns {
		if re, err := regexp.Compile(pattern); err == nil && re.MatchString(hostname) {
			return pattern
		}
	}
	return ""
}

// sameIDC returns the first of a cluster's zones that is the node's, or one of the
// node's where it says "a|b".
func sameIDC(idcs []string, idc string) string {
	if idc == "" {
		return ""
	}
	of := strings.Split(strings.ToLower(idc), "|")
	for _, one := range idcs {
		if strings.EqualFold(one, idc) || slices.Contains(of, strings.ToLower(one)) {
			return one
		}
	}
	return ""
}

// commonPrefix counts the leading elements that two locations share.
func commonPrefix(a, b string) int {
	if a == "" || b == "" {
		return 0
	}
	as, bs := strings.Split(a, "|"), strings.Split(b, "|")
	n := 0
	for n < min(len(as), len(bs), locationDepth) && strings.EqualFold(as[n], bs[n]) {
		n++
	}
	return n
}
