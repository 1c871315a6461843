package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// JobBody is a new job.
type JobBody struct {
	Kind      string `json:"kind"`
	ClusterID int64  `json:"cluster_id"`
	// Args are the kind's own.
	Args json.RawMessage `json:"args"`
}

func jobStates() []string {
	return []string{
		string(model.Waiting), string(model.Running), string(model.Succeeded), string(model.Failed), string(model.Cancelled),
	}
}

func (a *API) jobRoutes() []route {
	state := param{name: "state", doc: "Only those in this state.", kind: "string", enum: jobStates()}
	return []route{
		op(http.MethodGet, "/jobs", "listJobs", "Lists jobs, the newest first.", read("jobs"), paged(
			param{name: "cluster_id", doc: "Only those of this cluster.", kind: "integer"},
			param{name: "kind", doc: "Only those of this kind.", kind: "string", enum: model.JobKinds()}, state,
		), func(ctx context.Context, c *call, _ none) (Page[model.Job], error) {
			q, err := c.page()
			if err != nil {
				return Page[model.Job]{}, err
			}
			c.where(&q, []string{"cluster_id"}, []string{"kind", "state"})
			q.Newest = true
			rows, total, err := database.List[model.Job](ctx, a.Store, q)
			return pageOf(rows, total, q), err
		}),
		op(http.MethodPost, "/jobs", "createJob", "Makes a job, which a manager takes up soon.", write("jobs"), nil, a.createJob),
		op(http.MethodGet, "/jobs/{id}", "getJob", "Returns a job.", read("jobs"), nil, get[model.Job](a)),
		op(http.MethodGet, "/jobs/{id}/items", "listJobItems", "Lists what a job did, for each content and member.", read("jobs"), paged(
			state, param{name: "member", doc: "Only those of this node or seed.", kind: "string"},
		), func(ctx context.Context, c *call, _ none) (Page[model.JobItem], error) {
			j, err := byID[model.Job](ctx, a, c)
			if err != nil {
				return Page[model.JobItem]{}, err
			}
			q, err := c.page()
			if err != nil {
				return Page[model.JobItem]{}, err
			}
			c.where(&q, nil, []string{"state", "member"})
			q.Where["job_id"] = j.ID
			rows, total, err := database.List[model.JobItem](ctx, a.Store, q)
			return pageOf(rows, total, q), err
		}),
		op(http.MethodPost, "/jobs/{id}/cancel", "cancelJob", "Cancels a job that has not ended.", write("jobs"), nil, a.onJob(a.Store.CancelJob)),
		op(http.MethodPost, "/jobs/{id}/retry", "retryJob", "Makes a job that failed or was cancelled wait again.", write("jobs"), nil, a.onJob(a.Store.RetryJob)),
		op(http.MethodDelete, "/jobs/{id}", "deleteJob", "Deletes a job that has ended.", write("jobs"), nil, remove(a, a.Store.DeleteJob)),
	}
}

func (a *API) createJob(ctx context.Context, c *call, in JobBody) (*model.Job, error) {
	j := &model.Job{Kind: in.Kind, ClusterID: in.ClusterID, Args: in.Args, Actor: c.actor.String()}
	if err := j.Validate(); err != nil {
		return nil, err
	}
	if a.Jobs != nil {
		args, err := a.Jobs.Prepare(in.Kind, in.Args)
		if err != nil {
			return nil, err
		}
		j.Args = args
	}
	err := a.Store.CreateJob(ctx, j, a.Now())
	a.Made(j.Kind, err)
	return j, notThere("cluster_id", j.ClusterID, err)
}

// onJob is the handler that does something to a job and returns it.
func (a *API) onJob(do func(context.Context, int64, time.Time) error) func(context.Context, *call, none) (*model.Job, error) {
	return func(ctx context.Context, c *call, _ none) (*model.Job, error) {
		id, err := c.id()
		if err != nil {
			return nil, err
		}
		if err := do(ctx, id, a.Now()); err != nil {
			return nil, err
		}
		return database.Get[model.Job](ctx, a.Store, id)
	}
}
