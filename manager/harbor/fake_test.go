package harbor

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/model"
)

// nothing is a database with one cluster, which forgets its jobs.
type nothing struct{}

func (nothing) CreateJob(_ context.Context, j *model.Job, _ time.Time) error {
	j.ID, j.State = 1, model.Waiting
	return nil
}

func (nothing) CancelJob(context.Context, int64, time.Time) error { return nil }

func (nothing) Job(_ context.Context, id int64) (*model.Job, error) {
	return nil, fmt.Errorf("job %d: %w", id, errdefs.ErrNotFound)
}

func (nothing) Jobs(context.Context, int, int) ([]model.Job, error) { return nil, nil }

func (nothing) Items(context.Context, int64) ([]model.JobItem, error) { return nil, nil }

func (nothing) Clusters(context.Context) ([]model.Cluster, error) {
	return []model.Cluster{{ID: 1, Name: "only"}}, nil
}

func (nothing) Members(context.Context, int64) ([]model.Member, error) { return nil, nil }

func (nothing) WriteAudit(context.Context, *model.Audit) error { return nil }
