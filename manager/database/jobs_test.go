package database_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

const lease = 30 * time.Second

func newJob(t *testing.T, s *database.Store, cluster int64) *model.Job {
	t.Helper()
	j := &model.Job{Kind: "preheat", ClusterID: cluster, Args: json.RawMessage(`{"type":"image"}`), Actor: "root"}
	check(t, s.CreateJob(t.Context(), j, now))
	return j
}

func claim(t *testing.T, s *database.Store, holder string, at time.Time) *model.Job {
	t.Helper()
	j, err := s.ClaimJob(t.Context(), holder, at, lease)
	check(t, err)
	return j
}

// Two managers with several workers each: every job is claimed once.
func testClaims(t *testing.T, open open) {
	ctx := t.Context()
	stores := []*database.Store{open(t), open(t)}
	c := newCluster(t, stores[0], "prod")
	const jobs = 24
	for range jobs {
		newJob(t, stores[0], c.ID)
	}
	var (
		mu      sync.Mutex
		claimed = map[int64]int{}
	)
	for _, err := range together(4, func(i int) error {
		for {
			j, err := stores[i%2].ClaimJob(ctx, fmt.Sprintf("m%d", i%2), now, lease)
			if err != nil || j == nil {
				return err
			}
			mu.Lock()
			claimed[j.ID]++
			mu.Unlock()
			if j.State != model.Running || j.Attempt != 1 || string(j.Args) != `{"type":"image"}` {
				return fmt.Errorf("claimed %+v", j)
			}
		}
	}) {
		check(t, err)
	}
	if len(claimed) != jobs {
		t.Errorf("%d of %d claimed", len(claimed), jobs)
	}
	for id, n := range claimed {
		if n != 1 {
			t.Errorf("job %d was claimed %d times", id, n)
		}
	}
}

// A manager that is silent past its lease loses the job, and cannot write any more.
func testLeases(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := newCluster(t, s, "prod")
	newJob(t, s, c.ID)
	first := claim(t, s, "m1", now)
	if other := claim(t, s, "m2", now.Add(lease-time.Second)); other != nil {
		t.Fatalf("claimed within the lease: %+v", other)
	}
	cancel, err := s.RenewJob(ctx, first, now.Add(lease-time.Second), lease)
	check(t, err)
	if cancel {
		t.Error("cancelled by nobody")
	}
	if other := claim(t, s, "m2", now.Add(lease+time.Second)); other != nil {
		t.Fatalf("claimed within the renewed lease: %+v", other)
	}
	second := claim(t, s, "m2", now.Add(3*lease))
	if second == nil || second.ID != first.ID || second.Attempt != 2 || second.StartedAt != first.StartedAt {
		t.Fatalf("after the lease: %+v", second)
	}
	_, err = s.RenewJob(ctx, first, now.Add(3*lease), lease)
	want(t, errdefs.IsFailedPrecondition, err)
	want(t, errdefs.IsFailedPrecondition, s.PutItems(ctx, first, []model.JobItem{{Member: "n1"}}, now))
	first.State = model.Succeeded
	want(t, errdefs.IsFailedPrecondition, s.FinishJob(ctx, first, now))

	check(t, s.CancelJob(ctx, second.ID, now))
	cancel, err = s.RenewJob(ctx, second, now.Add(3*lease), lease)
	check(t, err)
	if !cancel {
		t.Error("the holder is not told that the job is cancelled")
	}
}

func testJobEnds(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := newCluster(t, s, "prod")
	j := newJob(t, s, c.ID)
	want(t, errdefs.IsFailedPrecondition, s.DeleteJob(ctx, j.ID))
	j = claim(t, s, "m1", now)
	want(t, errdefs.IsInvalidArgument, s.FinishJob(ctx, j, now))
	j.State, j.Error, j.Result = model.Failed, "no such tag: ‘x’", json.RawMessage(`{"nodes":3}`)
	check(t, s.FinishJob(ctx, j, now.Add(time.Second)))
	got, err := database.Get[model.Job](ctx, s, j.ID)
	check(t, err)
	if got.State != model.Failed || got.Error != j.Error || string(got.Result) != string(j.Result) || got.FinishedAt.IsZero() {
		t.Errorf("finished: %+v", got)
	}
	if other := claim(t, s, "m1", now.Add(time.Hour)); other != nil {
		t.Errorf("claimed after its end: %+v", other)
	}
	want(t, errdefs.IsFailedPrecondition, s.CancelJob(ctx, j.ID, now))
	check(t, s.RetryJob(ctx, j.ID, now))
	want(t, errdefs.IsFailedPrecondition, s.RetryJob(ctx, j.ID, now))
	if again := claim(t, s, "m2", now.Add(time.Hour)); again == nil || again.Attempt != 2 || again.Error != "" {
		t.Errorf("after the retry: %+v", again)
	}

	waiting := newJob(t, s, c.ID)
	check(t, s.CancelJob(ctx, waiting.ID, now))
	if other := claim(t, s, "m1", now); other != nil {
		t.Errorf("claimed a cancelled job: %+v", other)
	}
	check(t, s.Sweep(ctx, now, time.Time{}, now.Add(time.Minute)))
	_, err = database.Get[model.Job](ctx, s, waiting.ID)
	want(t, errdefs.IsNotFound, err)
	for _, err := range []error{s.CancelJob(ctx, 999, now), s.RetryJob(ctx, 999, now), s.DeleteJob(ctx, 999)} {
		want(t, errdefs.IsNotFound, err)
	}
	want(t, errdefs.IsNotFound, s.CreateJob(ctx, &model.Job{Kind: "preheat", ClusterID: 999, Args: json.RawMessage(`{}`)}, now))
}

func testItems(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := newCluster(t, s, "prod")
	newJob(t, s, c.ID)
	j := claim(t, s, "m1", now)
	items := func() (out []model.JobItem) {
		for i := range 3 {
			out = append(out, model.JobItem{Member: fmt.Sprint("n", i), Content: "sha256:ab", State: model.Running, Pieces: 10})
		}
		return out
	}
	check(t, s.PutItems(ctx, j, items(), now))
	again := items()[:1]
	again[0].State, again[0].Verified = model.Succeeded, 10
	check(t, s.PutItems(ctx, j, again, now))
	rows, total, err := database.List[model.JobItem](ctx, s, database.Query{Where: map[string]any{"job_id": j.ID}})
	check(t, err)
	if total != 3 || rows[0].State != model.Succeeded || rows[0].Verified != 10 || rows[1].State != model.Running {
		t.Errorf("%d: %+v", total, rows)
	}
	j.State = model.Succeeded
	check(t, s.FinishJob(ctx, j, now))
	check(t, s.DeleteJob(ctx, j.ID))
	if _, total, _ = database.List[model.JobItem](ctx, s, database.Query{}); total != 0 {
		t.Errorf("%d items outlive their job", total)
	}
}

func testJobRate(t *testing.T, open open) {
	ctx, s := t.Context(), open(t)
	c := &model.Cluster{Name: "prod", JobsPerMinute: 3}
	check(t, s.CreateCluster(ctx, c, now))
	made := 0
	for _, err := range together(6, func(int) error {
		return s.CreateJob(ctx, &model.Job{Kind: "preheat", ClusterID: c.ID, Args: json.RawMessage(`{}`)}, now)
	}) {
		if err == nil {
			made++
		} else {
			want(t, errdefs.IsResourceExhausted, err)
		}
	}
	if made != 3 {
		t.Errorf("%d jobs made, want 3", made)
	}
	check(t, s.CreateJob(ctx, &model.Job{Kind: "preheat", ClusterID: c.ID, Args: json.RawMessage(`{}`)}, now.Add(61*time.Second)))
}
