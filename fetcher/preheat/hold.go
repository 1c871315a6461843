package preheat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/store"
)

// Held implements nodev1.NodeServiceServer.
func (s *Server) Held(_ context.Context, r *nodev1.HeldRequest) (*nodev1.HeldResponse, error) {
	all := s.store.List()
	u := s.store.Usage()
	out := &nodev1.HeldResponse{Reserved: u.Reserved, Quota: u.Quota, DiskFree: u.DiskFree, Floor: u.Floor}
	if len(r.GetTasks()) == 0 {
		for _, i := range all[:min(len(all), 10*maxContents)] {
			out.Holdings = append(out.Holdings, s.describe(i))
		}
		return out, nil
	}
	ids, err := parseTasks(r.GetTasks())
	if err != nil {
		return nil, err
	}
	byID := index(all)
	for _, id := range ids {
		out.Holdings = append(out.Holdings, s.held(byID, id))
	}
	return out, nil
}

// Delete implements nodev1.NodeServiceServer.
func (s *Server) Delete(_ context.Context, r *nodev1.DeleteRequest) (*nodev1.DeleteResponse, error) {
	ids, err := parseTasks(r.GetTasks())
	if err != nil {
		return nil, err
	}
	byID := index(s.store.List())
	out := &nodev1.DeleteResponse{}
	for _, id := range ids {
		d := &nodev1.Deletion{Task: id.String()}
		out.Deletions = append(out.Deletions, d)
		i, ok := byID[id]
		if !ok {
			continue
		}
		d.Held = true
		if reason := foreignPin(i.Pins, time.Now()); reason != "" {
			d.Failure = failure(fmt.Errorf("%s is in use: %s: %w", id.Short(), reason, errdefs.ErrFailedPrecondition))
		} else if err := s.store.Delete(id); err != nil {
			d.Failure = failure(err)
		} else {
			s.swarm.Deleted(id)
			d.Bytes = i.Bytes
		}
	}
	return out, nil
}

// foreignPin returns why somebody else than a job keeps a content, "" = nobody does.
func foreignPin(pins map[string]time.Time, now time.Time) string {
	for _, reason := range slices.Sorted(maps.Keys(pins)) {
		if !strings.HasPrefix(reason, pinPrefix) && pins[reason].After(now) {
			return reason
		}
	}
	return ""
}

// Unpin implements nodev1.NodeServiceServer.
func (s *Server) Unpin(_ context.Context, r *nodev1.UnpinRequest) (*nodev1.UnpinResponse, error) {
	if !jobPattern.MatchString(r.GetJob()) {
		return nil, invalid("job %q", r.GetJob())
	}
	out := &nodev1.UnpinResponse{}
	var errs []error
	for _, i := range s.store.List() {
		if _, ok := i.Pins[pinPrefix+r.GetJob()]; !ok {
			continue
		}
		if err := s.store.Pin(i.ID, pinPrefix+r.GetJob(), time.Time{}); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
			continue
		}
		out.Pins++
	}
	return out, asStatus(errors.Join(errs...))
}

// Collect implements nodev1.NodeServiceServer.
func (s *Server) Collect(_ context.Context, r *nodev1.CollectRequest) (*nodev1.CollectResponse, error) {
	if r.GetUnusedSeconds() < 0 || r.GetUnusedSeconds() > int64(maxPin/time.Second) {
		return nil, invalid("unused for %d seconds, want 0 to %d", r.GetUnusedSeconds(), int64(maxPin/time.Second))
	}
	now, out := time.Now(), &nodev1.CollectResponse{}
	var errs []error
	for _, i := range s.store.List() {
		pinned := slices.ContainsFunc(slices.Collect(maps.Values(i.Pins)), now.Before)
		if pinned || i.Open > 0 || now.Sub(i.Used) < time.Duration(r.GetUnusedSeconds())*time.Second {
			continue
		}
		if err := s.store.Delete(i.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		s.swarm.Deleted(i.ID)
		out.Contents++
		out.Bytes += i.Bytes
	}
	return out, asStatus(errors.Join(errs...))
}

func parseTasks(names []string) ([]p2p.TaskID, error) {
	if len(names) > maxContents {
		return nil, invalid("%d tasks, want at most %d", len(names), maxContents)
	}
	ids := make([]p2p.TaskID, len(names))
	for k, name := range names {
		var err error
		if ids[k], err = p2p.ParseTaskID(name); err != nil {
			return nil, invalid("%w", err)
		}
	}
	return ids, nil
}

func index(all []store.Info) map[p2p.TaskID]store.Info {
	byID := make(map[p2p.TaskID]store.Info, len(all))
	for _, i := range all {
		byID[i.ID] = i
	}
	return byID
}

// holding says what this node holds of one task.
func (s *Server) holding(id p2p.TaskID) *nodev1.Holding {
	if id.IsZero() {
		return &nodev1.Holding{Size: -1}
	}
	return s.held(index(s.store.List()), id)
}

func (s *Server) held(byID map[p2p.TaskID]store.Info, id p2p.TaskID) *nodev1.Holding {
	if i, ok := byID[id]; ok {
		return s.describe(i)
	}
	return &nodev1.Holding{Task: id.String(), Size: -1}
}

func (s *Server) describe(i store.Info) *nodev1.Holding {
	h := &nodev1.Holding{
		Task: i.ID.String(), Size: i.Geometry.Size, Bytes: i.Bytes, Complete: i.Completed,
		Pieces: uint32(i.Geometry.Pieces()), PiecesHeld: uint32(i.Pieces), //nolint:gosec // below p2p.MaxPieces
	}
	for _, reason := range slices.Sorted(maps.Keys(i.Pins)) {
		h.Pins = append(h.Pins, &nodev1.Pin{Reason: reason, Until: i.Pins[reason].Unix()})
	}
	stats, _, ok := s.swarm.Past(i.ID)
	if t, live := s.swarm.Task(i.ID); live {
		stats, ok = t.Stats, true
	}
	if ok {
		h.Source = &nodev1.Source{FromPeers: stats.FromPeers, FromSeed: stats.FromSeed, FromOrigin: stats.FromOrigin}
	}
	return h
}

// complete reports whether a task is held whole, and is what its identity says.
func (s *Server) complete(id p2p.TaskID) bool {
	for _, i := range s.store.List() {
		if i.ID == id {
			return i.Completed
		}
	}
	return false
}
