package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/version"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
	"github.com/darter-p2p/darter/plugin/content"
)

// control answers the program darter, as api/darterd/v1 says.
func (d *daemon) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+darterdv1.StatusPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, d.status()) })
	mux.HandleFunc("GET "+darterdv1.TasksPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, d.tasks()) })
	mux.HandleFunc("GET "+darterdv1.ExplainPath, func(w http.ResponseWriter, r *http.Request) {
		found, err := d.explain(r.Context(), r.URL.Query().Get(darterdv1.WhatParam))
		if err != nil {
			answer(w, http.StatusNotFound, darterdv1.Error{Message: err.Error()})
			return
		}
		answer(w, http.StatusOK, found)
	})
	mux.Handle("GET "+darterdv1.ContentPath, content.Handler{Opener: d.fetcher})
	mux.Handle("GET "+darterdv1.BlobPath, d.blobs)
	mux.HandleFunc("POST "+darterdv1.WrongPath, d.blobs.Wrong)
	return mux
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // the client has gone
	}
}

func (d *daemon) status() darterdv1.Status {
	ready, reason := d.service.Health.Status()
	u := d.store.Usage()
	s := darterdv1.Status{
		Version: version.Number(), Host: string(d.self.ID), Cluster: d.id.Cluster(), Role: string(d.id.Name().Role),
		Address: d.exchange.Addr().String(), Zone: d.self.Zone, Rack: d.self.Rack,
		Started: d.started, Ready: ready, Reason: reason, CertificateExpires: d.id.Expires(),
		Links: d.node.Links(), Uploaded: d.counters.sent.Load(),
		Store: darterdv1.Store{Dir: d.cfg.Store.Root, Reserved: u.Reserved, Quota: u.Quota, DiskFree: u.DiskFree, Floor: u.Floor},
		Bytes: darterdv1.Sources{FromPeers: d.counters.fromPeers.Load(), FromSeed: d.counters.fromSeed.Load(), FromOrigin: d.counters.fromOrigin.Load()},
	}
	s.Manager = d.managed()
	for _, t := range d.tracker.States() {
		state := darterdv1.Scheduler{Address: t.Address, Name: t.Scheduler, State: darterdv1.SchedulerConnecting, Since: t.Since}
		if t.Connected {
			state.State = darterdv1.SchedulerConnected
		} else if t.Err != nil {
			state.State, state.Error = darterdv1.SchedulerDown, t.Err.Error()
		}
		s.Schedulers = append(s.Schedulers, state)
	}
	for _, t := range d.tasks().Tasks {
		s.Tasks.Held++
		switch t.State {
		case darterdv1.TaskComplete:
			s.Tasks.Complete++
		case darterdv1.TaskActive:
			s.Tasks.Active++
		}
	}
	return s
}

// tasks lists what the store holds and what is being taken now.
func (d *daemon) tasks() darterdv1.Tasks {
	live := map[p2p.TaskID]node.Snapshot{}
	for _, s := range d.node.Tasks() {
		live[s.Task] = s
	}
	var all darterdv1.Tasks
	for _, i := range d.store.List() {
		s, ok := live[i.ID]
		delete(live, i.ID)
		t := darterdv1.Task{Task: i.ID.String(), Size: i.Geometry.Size, Held: i.Bytes, State: darterdv1.TaskPartial, Used: i.Used, Pins: slices.Sorted(maps.Keys(i.Pins))}
		if i.Completed {
			t.State = darterdv1.TaskComplete
		}
		if ok {
			t.State, t.Origin, t.Bytes = state(s), s.Origin.String(), sources(s.Stats)
		} else if past, origin, ok := d.node.Past(i.ID); ok {
			t.Origin, t.Bytes = origin.String(), sources(past)
		}
		all.Tasks = append(all.Tasks, t)
	}
	for _, s := range live {
		all.Tasks = append(all.Tasks, darterdv1.Task{Task: s.Task.String(), Origin: s.Origin.String(), Size: -1, State: state(s), Bytes: sources(s.Stats)})
	}
	return all
}

func state(s node.Snapshot) string {
	switch {
	case errors.Is(s.Error, node.ErrRevoked):
		return darterdv1.TaskRevoked
	case s.Error != nil:
		return darterdv1.TaskFailed
	case s.Complete:
		return darterdv1.TaskComplete
	case s.Active:
		return darterdv1.TaskActive
	}
	return darterdv1.TaskPartial
}

func sources(s node.Stats) darterdv1.Sources {
	return darterdv1.Sources{FromPeers: s.FromPeers, FromSeed: s.FromSeed, FromOrigin: s.FromOrigin}
}

// explainTask says where a task's bytes came from.
func (d *daemon) explainTask(id p2p.TaskID) (darterdv1.Explain, error) {
	s, ok := d.node.Task(id)
	if !ok {
		return darterdv1.Explain{}, fmt.Errorf("%s is not held here", id)
	}
	e := darterdv1.Explain{
		Task: id.String(), Origin: s.Origin.String(), Size: -1, Pieces: s.Geometry.Pieces(), PiecesHeld: s.Pieces,
		State: state(s), Final: s.Final, SignedBy: s.SignedBy, Bytes: sources(s.Stats), Uploaded: s.Sent, Readers: s.Readers,
		Timing: darterdv1.Timing{Started: s.Started, FirstByte: s.First, Completed: s.Held},
	}
	if !s.Geometry.IsZero() {
		e.Size, e.PieceLength, e.Held = s.Geometry.Size, s.Geometry.PieceLength, min(int64(s.Pieces)*s.Geometry.PieceLength, s.Geometry.Size)
	}
	if s.Error != nil {
		e.Error = s.Error.Error()
	}
	if id.Kind() == p2p.KindURL {
		e.Digest = s.Sum.String()
	}
	if s.Final {
		right := true
		e.DigestOK = &right
	}
	for _, p := range s.Peers {
		if p.Banned != "" {
			e.Refused = append(e.Refused, darterdv1.Refused{Host: string(p.Host.ID), Reason: p.Banned, Banned: true})
		}
		n := darterdv1.Neighbour{Host: string(p.Host.ID), Address: p.Host.Addr, Seed: p.Host.Seed, Linked: p.Linked,
			Bytes: p.Received, Pieces: int(p.PeerStats.Pieces), Uploaded: p.PeerStats.Sent}
		if took := p.Took.Seconds(); took > 0 {
			n.Rate = float64(p.Received) / took
		}
		e.Neighbours = append(e.Neighbours, n)
	}
	for _, i := range d.store.List() {
		if i.ID == id {
			e.Pins = slices.Sorted(maps.Keys(i.Pins))
		}
	}
	return e, nil
}

// findTask returns the task that what names: whole, by digest, or by the first digits.
func (d *daemon) findTask(what string) (p2p.TaskID, bool) {
	if id, err := p2p.ParseTaskID(what); err == nil {
		return id, true
	}
	hex := strings.TrimPrefix(what, "sha256:")
	if len(hex) < 12 || strings.Trim(hex, "0123456789abcdef") != "" {
		return p2p.TaskID{}, false
	}
	all := d.store.List()
	i := slices.IndexFunc(all, func(i store.Info) bool { return strings.HasPrefix(i.ID.String(), "sha256:"+hex) })
	if i < 0 {
		return p2p.TaskID{}, false
	}
	return all[i].ID, true
}
