package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/manager/model"
)

// Store is what a Worker needs of the database; *database.Store is one. A write of a job
// whose lease another manager took is ErrFailedPrecondition.
type Store interface {
	ClaimJob(ctx context.Context, holder string, now time.Time, lease time.Duration) (*model.Job, error)
	RenewJob(ctx context.Context, j *model.Job, now time.Time, lease time.Duration) (cancel bool, err error)
	PutItems(ctx context.Context, j *model.Job, items []model.JobItem, now time.Time) error
	FinishJob(ctx context.Context, j *model.Job, now time.Time) error
}

// Nodes lists the seeds and nodes of a cluster, those that are down too.
type Nodes interface {
	NodesOf(ctx context.Context, cluster int64) ([]Node, error)
}

// Config sets how a Worker goes about its jobs.
type Config struct {
	Parallel int           // jobs at a time
	Poll     time.Duration // between two looks for jobs
	Lease    time.Duration // how long a dead manager's job waits for another
	Flush    time.Duration // between two writes of items
	Tries    int           // how often a node that cannot be reached is tried
	Retry    time.Duration // after the first try; then twice as long each time
}

// Default returns the settings that suit data centres.
func Default() Config {
	return Config{Parallel: 8, Poll: time.Second, Lease: 15 * time.Second, Flush: time.Second, Tries: 4, Retry: 2 * time.Second}
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Parallel < 1 || c.Parallel > 1000:
		return fmt.Errorf("parallel: %d, want 1 to 1000", c.Parallel)
	case c.Poll <= 0 || c.Flush <= 0 || c.Retry <= 0:
		return errors.New("poll, flush and retry: want more than 0")
	case c.Lease < time.Second || c.Lease > time.Hour:
		return fmt.Errorf("lease: %v, want 1s to 1h", c.Lease)
	case c.Tries < 1 || c.Tries > 100:
		return fmt.Errorf("tries: %d, want 1 to 100", c.Tries)
	}
	return nil
}

// Worker does jobs. Several workers, in one manager or in many, share a Store.
type Worker struct {
	cfg    Config
	holder string
	store  Store
	nodes  Nodes
	dial   Dial
	seals  *Sealer
	wake   chan struct{}
}

// NewWorker returns a Worker. The holder names the manager and is unique among those that
// share the Store, also across its restarts.
func NewWorker(cfg Config, holder string, st Store, nodes Nodes, dial Dial, seals *Sealer) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("jobs: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return &Worker{cfg: cfg, holder: holder, store: st, nodes: nodes, dial: dial, seals: seals, wake: make(chan struct{}, 1)}, nil
}

// Wake makes the worker look for jobs at once. It never blocks.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run claims and does jobs until ctx ends; then it leaves those that run to others, once
// their leases have run out, and returns when its own part in them has ended.
func (w *Worker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, w.cfg.Parallel)
	tick := time.NewTicker(w.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		j, err := w.store.ClaimJob(ctx, w.holder, time.Now(), w.cfg.Lease)
		if j != nil {
			running.Go(func() {
				w.do(ctx, j)
				<-free
				w.Wake()
			})
			continue
		}
		<-free
		if err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Warn("cannot look for jobs")
		}
		select {
		case <-tick.C:
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// Why a job is stopped.
var (
	errLost      = errors.New("another manager has the job")
	errCancelled = errors.New("the job was cancelled")
	errTimeout   = errors.New("the job took longer than its timeout")
)

// do does a claimed job and writes its end, unless it is no longer this worker's.
func (w *Worker) do(ctx context.Context, j *model.Job) {
	log := log.G(ctx).WithFields(log.Fields{"job": j.ID, "kind": j.Kind, "attempt": j.Attempt})
	jctx, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.renew(jctx, *j, stop)
	}()
	state, result, words := w.perform(jctx, j)
	cause := context.Cause(jctx)
	stop(nil)
	<-ended
	if errors.Is(cause, errLost) || ctx.Err() != nil {
		log.WithField("cause", cause).Info("a job is left to another manager")
		return
	}
	j.State, j.Error = state, words
	var err error
	if j.Result, err = json.Marshal(result); err == nil {
		err = w.store.FinishJob(ctx, j, time.Now())
	}
	if err != nil {
		log.WithError(err).Warn("a job's end cannot be written; another attempt will be made")
		return
	}
	log.WithFields(map[string]any{"state": j.State, "error": words}).Info("a job has ended")
}

// renew keeps the lease. It stops the job when the lease is lost, or may be, or when
// somebody cancelled the job.
func (w *Worker) renew(ctx context.Context, j model.Job, stop context.CancelCauseFunc) {
	tick := time.NewTicker(w.cfg.Lease / 5)
	defer tick.Stop()
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		cancelled, err := w.store.RenewJob(ctx, &j, now, w.cfg.Lease)
		switch {
		case errdefs.IsFailedPrecondition(err) || errdefs.IsNotFound(err):
			stop(errLost)
			return
		case err != nil && now.Sub(good) > w.cfg.Lease*3/5:
			stop(fmt.Errorf("%w, perhaps: the database fails: %w", errLost, err))
			return
		case err != nil:
			continue
		case cancelled:
			stop(errCancelled)
		}
		good = now
	}
}

// perform does a job and returns its end.
func (w *Worker) perform(ctx context.Context, j *model.Job) (model.JobState, Result, string) {
	a, err := w.seals.open(j.Kind, j.Args)
	if err != nil {
		return model.Failed, Result{}, err.Error()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(a.TimeoutSeconds)*time.Second, errTimeout)
	defer cancel()
	r := &run{Worker: w, job: j, args: a, ledger: newLedger()}
	if err := r.prepare(ctx); err != nil {
		state, words := model.Failed, model.Text(message(err), 2000)
		if cause := context.Cause(ctx); cause != nil {
			if errors.Is(cause, errCancelled) {
				state = model.Cancelled
			}
			words = cause.Error() + "; " + words
		}
		return state, Result{Digest: r.digest}, words
	}
	r.onNodes(ctx)
	switch cause := context.Cause(ctx); {
	case cause == nil:
	case errors.Is(cause, errCancelled):
		r.ledger.endAll(model.Cancelled, cause.Error())
	default:
		r.ledger.endAll(model.Failed, cause.Error())
	}
	unwritten := r.flush(context.WithoutCancel(ctx))
	r.mu.Lock()
	defer r.mu.Unlock()
	state, result, words := r.ledger.settle()
	if unwritten != nil {
		state, words = model.Failed, fmt.Sprintf("its items could not be written: %v; %s", unwritten, words)
	}
	result.Digest, result.DryRun = r.digest, a.DryRun
	return state, result, words
}
