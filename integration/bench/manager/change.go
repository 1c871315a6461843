package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/darter-p2p/darter/integration/manager"
)

// changePause is the time from the last node's being told to the next change.
const changePause = 4 * time.Second

// signIn makes a cluster for all nodes.
func (b *bencher) signIn(ctx context.Context) error {
	var err error
	if b.rest, err = manager.SignIn(ctx, b.manager.URL, &http.Transport{MaxIdleConnsPerHost: 64}); err != nil {
		return err
	}
	var made struct {
		ID int64 `json:"id"`
	}
	body := map[string]any{"name": "bench", "is_default": true}
	err = b.rest.Ask(ctx, http.MethodPost, "/clusters", body, &made)
	b.cluster = made.ID
	return err
}

// lists are the lists that are read, in turn. Those of nodes begin at a page in the middle.
func (b *bencher) lists() []string {
	return []string{
		fmt.Sprintf("/nodes?page=%d&per_page=50", 1+b.Nodes/100),
		"/nodes?search=9&per_page=50",
		"/nodes?state=inactive",
		"/clusters",
		"/jobs",
		fmt.Sprintf("/configurations?cluster_id=%d", b.cluster),
		"/audits?per_page=50",
		fmt.Sprintf("/nodes?per_page=1000&page=%d", 1+b.Nodes/2000),
	}
}

// change changes the configuration again and again and reads lists meanwhile.
func (b *bencher) change(ctx context.Context, r *report) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	taken := make(chan []answer, 1)
	go func() { taken <- b.read(ctx) }()
	err := b.changes(ctx, r)
	stop()
	answers := <-taken
	r.Lists = summarise(answers)
	for _, a := range answers {
		if a.err != nil {
			return errors.Join(err, fmt.Errorf("GET %s: %w", a.path, a.err))
		}
	}
	return err
}

// changes sets one value after another and waits each time until all nodes have it.
func (b *bencher) changes(ctx context.Context, r *report) error {
	for i := range b.Changes {
		body := map[string]any{
			"cluster_id": b.cluster, "settings": map[string]any{"limits": map[string]any{"upload": (i + 1) << 20}}, "comment": "bench",
		}
		var made struct {
			Version int64 `json:"version"`
		}
		begun := time.Now()
		b.underWay.Store(true)
		if err := b.rest.Ask(ctx, http.MethodPost, "/configurations", body, &made); err != nil {
			return err
		}
		answered := time.Since(begun)
		round := b.crowd.await(made.Version, begun)
		select {
		case <-round.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(phaseWithin):
			return fmt.Errorf("change %d: not at all nodes after %v", i, phaseWithin)
		}
		b.underWay.Store(false)
		r.Rounds = append(r.Rounds, newRound(answered, round.times))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(changePause):
		}
	}
	return nil
}

// answer is one list that was read.
type answer struct {
	path   string
	took   time.Duration
	change bool // a change was on its way to the nodes when it was asked for
	err    error
}

// read reads so many lists in a second until ctx ends, whether or not earlier ones are
// answered: a slow manager is asked as often as a fast one.
func (b *bencher) read(ctx context.Context) []answer {
	var mu sync.Mutex
	var all []answer
	var reading sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(b.plan.Lists))
	defer tick.Stop()
	lists := b.lists()
	for i := 0; ; i++ {
		path := lists[i%len(lists)]
		reading.Go(func() {
			begun, change := time.Now(), b.underWay.Load()
			err := b.rest.Ask(context.WithoutCancel(ctx), http.MethodGet, path, nil, nil)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, answer{path, time.Since(begun), change, err})
		})
		select {
		case <-ctx.Done():
			reading.Wait()
			return all
		case <-tick.C:
		}
	}
}
