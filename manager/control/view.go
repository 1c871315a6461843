package control

import (
	"context"
	"slices"
	"time"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/manager/search"
)

// view is what members are told, as of one revision. It is never changed.
type view struct {
	revision database.Revision
	clusters []search.Candidate
	// states are what all members of a cluster are told; 0 is that of no cluster.
	states map[int64]*managerv1.State
	// pins are the clusters of members that an operator pinned.
	pins map[identity]int64
}

// identity is a member's, as its certificate says it.
type identity struct {
	role model.Role
	name string
}

// readView reads all that members are told.
func readView(ctx context.Context, store *database.Store, heartbeat uint32, now time.Time) (*view, error) {
	// First, so that what changes meanwhile is read again.
	revision, err := store.Revision(ctx)
	if err != nil {
		return nil, err
	}
	clusters, _, err := database.List[model.Cluster](ctx, store, database.Query{})
	if err != nil {
		return nil, err
	}
	schedulers, err := store.ActiveSchedulers(ctx)
	if err != nil {
		return nil, err
	}
	applications, _, err := database.List[model.Application](ctx, store, database.Query{})
	if err != nil {
		return nil, err
	}
	pinned, _, err := database.List[model.Member](ctx, store, database.Query{Where: map[string]any{"pinned": true}})
	if err != nil {
		return nil, err
	}
	revoked, err := store.Revoked(ctx, now)
	if err != nil {
		return nil, err
	}
	v := &view{revision: revision, states: map[int64]*managerv1.State{}, pins: map[identity]int64{}}
	for _, m := range pinned {
		v.pins[identity{m.Role, m.Name}] = m.ClusterID
	}
	for _, c := range slices.Concat([]model.Cluster{{}}, clusters) {
		version, settings, err := store.Effective(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		s := &managerv1.State{
			Version: version, ClusterId: c.ID, Cluster: c.Name, HeartbeatSeconds: heartbeat, Settings: toWire(settings, applications),
			Revoked: revoked,
		}
		for _, m := range schedulers[c.ID] {
			if m.Address != "" {
				s.Schedulers = append(s.Schedulers, &managerv1.Scheduler{Name: m.Name, Address: m.Address})
			}
		}
		v.states[c.ID] = s
		if c.ID != 0 {
			v.clusters = append(v.clusters, search.Candidate{Cluster: c, Schedulers: len(s.Schedulers)})
		}
	}
	return v, nil
}

// toWire writes settings as members read them.
func toWire(s model.Settings, applications []model.Application) *managerv1.Settings {
	out := &managerv1.Settings{
		Limits: &managerv1.Limits{
			Upload: s.Limits.Upload, Download: s.Limits.Download, Task: s.Limits.Task,
			Window: s.Limits.Window, Background: s.Limits.Background,
		},
		Swarm: &managerv1.Swarm{
			Neighbours: s.Swarm.Neighbours, LargeSwarm: s.Swarm.LargeSwarm, LargeNeighbours: s.Swarm.LargeNeighbours,
			SeedDegree: s.Swarm.SeedDegree, RackNeighbours: s.Swarm.RackNeighbours, Bridges: s.Swarm.Bridges,
		},
		Pieces: &managerv1.Pieces{UploadSlots: s.Pieces.UploadSlots, DownloadSlots: s.Pieces.DownloadSlots},
		Disk:   &managerv1.Disk{Quota: s.Disk.Quota, KeepFree: s.Disk.KeepFree, TtlSeconds: s.Disk.TTLSeconds},
		Block:  &managerv1.Block{Applications: s.Block.Applications, Urls: s.Block.URLs, Tags: s.Block.Tags},
	}
	for _, a := range applications {
		one := &managerv1.Application{Name: a.Name, Priority: a.Priority}
		for _, u := range a.URLs {
			one.Urls = append(one.Urls, &managerv1.URLPriority{Pattern: u.Pattern, Priority: u.Priority})
		}
		out.Applications = append(out.Applications, one)
	}
	return out
}

// place is a member's cluster and why.
type place struct {
	cluster int64
	because []string
}

// assign finds a member's cluster. What an operator pinned holds first, then what the
// member pins, then the scopes. Where no cluster can serve it, it stays where it was; a
// new member then goes to none.
func (v *view) assign(m *model.Member, pin string) place {
	if c := v.pins[identity{m.Role, m.Name}]; c != 0 && v.states[c] != nil {
		return place{c, []string{"an operator pinned it here"}}
	}
	candidates := v.clusters
	if m.Role == model.RoleScheduler { // it needs none, and a cluster's first must get in
		candidates = slices.Clone(candidates)
		for i := range candidates {
			candidates[i].Schedulers = 1
		}
	}
	answers, err := search.Rank(search.Query{IP: m.IP, Hostname: m.Hostname, IDC: m.IDC, Location: m.Location, Pin: pin}, candidates)
	switch {
	case err != nil:
		return place{0, []string{err.Error()}}
	case len(answers) > 0 && answers[0].Usable:
		return place{answers[0].ClusterID, answers[0].Because}
	case m.ClusterID != 0 && v.states[m.ClusterID] != nil:
		return place{m.ClusterID, []string{"no cluster with an active scheduler serves it: it stays where it was"}}
	}
	return place{0, []string{"no cluster with an active scheduler serves it"}}
}
