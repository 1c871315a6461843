package harbor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
)

// preheat is a job as clients of Dragonfly name it: the old body, and the new one's args.
type preheat struct {
	Type           string            `json:"type"` // "image" or "file"
	URL            string            `json:"url"`  // of the manifest, or of the file
	Headers        map[string]string `json:"headers"`
	Scope          string            `json:"scope"`
	Platform       string            `json:"platform"`
	IPs            []string          `json:"ips"`
	Percentage     *int              `json:"percentage"`
	Count          *int              `json:"count"`
	Concurrent     int               `json:"concurrent_count"` // nodes at a time
	Timeout        time.Duration     `json:"timeout"`          // in nanoseconds
	ExtraAttribute map[string]any    `json:"extra_attrs"`
}

// args are the arguments of our job.
func (p preheat) args(ctx context.Context) (jobs.Args, error) {
	a := jobs.Args{
		Scope: p.Scope, IPs: p.IPs, Authorization: jobs.AuthorizationOf(p.Headers),
		AtOnce: p.Concurrent, TimeoutSeconds: int64(p.Timeout / time.Second),
	}
	switch p.Type {
	case "image", "":
		a.Image = p.URL
	case "file":
		a.Files = []jobs.File{{URL: p.URL}}
	default:
		return a, fmt.Errorf("type %.40q, want image or file: %w", p.Type, errdefs.ErrInvalidArgument)
	}
	switch p.Scope {
	case "single_peer": // Harbor's own words
		a.Scope = jobs.OneSeed
	case "", jobs.OneSeed, jobs.AllSeeds, jobs.AllPeers:
	default:
		log.G(ctx).WithField("scope", p.Scope).Warn("preheat of an unknown scope: one seed is taken")
		a.Scope = jobs.OneSeed
	}
	if p.Platform != "" {
		a.Platforms = []string{p.Platform}
	}
	if p.Percentage != nil {
		a.Percentage = *p.Percentage
	}
	if p.Count != nil {
		a.Count = *p.Count
	}
	return a, nil
}

// clusters returns the clusters that a client names, all where it names none.
func (h *Handler) clusters(ctx context.Context, named []int64) ([]int64, error) {
	all, err := h.Jobs.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	for _, id := range named {
		if !slices.Contains(ids, id) {
			return nil, fmt.Errorf("no cluster %d: %w", id, errdefs.ErrInvalidArgument)
		}
	}
	if len(named) > 0 {
		slices.Sort(named)
		ids = slices.Compact(named)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no cluster to preheat: %w", errdefs.ErrFailedPrecondition)
	}
	return ids, nil
}

// create makes a job for each cluster. The one that is returned stands for all: its
// arguments name the others.
func (h *Handler) create(ctx context.Context, p preheat, named []int64, actor string) (*model.Job, error) {
	args, err := p.args(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := h.clusters(ctx, named)
	if err != nil {
		return nil, err
	}
	var made []int64
	for i := len(ids) - 1; i >= 0; i-- {
		if i == 0 {
			args.Also = made
		}
		j, err := h.createOne(ctx, args, ids[i], actor)
		if err != nil {
			for _, id := range made {
				if cerr := h.Jobs.CancelJob(ctx, id, time.Now()); cerr != nil {
					log.G(ctx).WithError(cerr).WithField("job", id).Warn("a job of a request that failed goes on")
				}
			}
			return nil, err
		}
		if i == 0 {
			return j, nil
		}
		made = append(made, j.ID)
	}
	return nil, nil // not reached: there is a cluster
}

func (h *Handler) createOne(ctx context.Context, args jobs.Args, cluster int64, actor string) (*model.Job, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	j := &model.Job{Kind: jobs.Preheat, ClusterID: cluster, Actor: actor}
	if j.Args, err = h.Sealer.Prepare(jobs.Preheat, raw); err != nil {
		return nil, err
	}
	if err := j.Validate(); err != nil {
		return nil, err
	}
	err = h.Jobs.CreateJob(ctx, j, time.Now())
	h.Made(j.Kind, err)
	return j, err
}

// family returns a job and those of the same request for other clusters.
func (h *Handler) family(ctx context.Context, j *model.Job) ([]model.Job, jobs.Args, error) {
	var args jobs.Args
	if err := json.Unmarshal(j.Args, &args); err != nil {
		return nil, args, fmt.Errorf("arguments of job %d: %w", j.ID, err)
	}
	all := []model.Job{*j}
	for _, id := range args.Also {
		other, err := h.Jobs.Job(ctx, id)
		if errdefs.IsNotFound(err) {
			continue // deleted
		}
		if err != nil {
			return nil, args, err
		}
		all = append(all, *other)
	}
	return all, args, nil
}

// together is the state of jobs as one.
func together(all []model.Job) (state model.JobState, words string) {
	waiting, running, failed := 0, 0, 0
	for _, j := range all {
		switch j.State {
		case model.Waiting:
			waiting++
		case model.Running:
			running++
		case model.Failed, model.Cancelled:
			failed++
			if words == "" {
				words = j.Error
				if words == "" {
					words = "the job was " + string(j.State)
				}
			}
		}
	}
	switch {
	case waiting == len(all):
		return model.Waiting, ""
	case waiting+running > 0:
		return model.Running, ""
	case failed > 0:
		return model.Failed, words
	}
	return model.Succeeded, ""
}
