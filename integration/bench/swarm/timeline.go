package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

// samplePause is the time between two samples.
const samplePause = 250 * time.Millisecond

// timeline is what happened during a swarm. Every list is as long as Seconds.
type timeline struct {
	Seconds []float64          `json:"seconds"` // since the clients' start
	Done    map[string][]int64 `json:"done"`    // by node: bytes in its client's files
	Sent    map[string][]int64 `json:"sent"`    // by host: bytes that its interface sent since the start
}

// watch samples until ctx ends, and once more then.
func (s *stage) watch(ctx context.Context) (timeline, error) {
	hosts := []*lab.Host{s.registry.Host}
	for _, d := range s.darterds() {
		hosts = append(hosts, d.Host)
	}
	t := timeline{Done: map[string][]int64{}, Sent: map[string][]int64{}}
	start, before := time.Now(), map[string]int64{}
	var errs []error
	sample := func() {
		t.Seconds = append(t.Seconds, time.Since(start).Seconds())
		for _, node := range s.nodes {
			size, err := folderSize(clientDir(node))
			errs = append(errs, err)
			t.Done[node.Host.Name] = append(t.Done[node.Host.Name], size)
		}
		for _, h := range hosts {
			sent, err := h.TxBytes()
			errs = append(errs, err)
			if len(t.Seconds) == 1 {
				before[h.Name] = sent
			}
			t.Sent[h.Name] = append(t.Sent[h.Name], sent-before[h.Name])
		}
	}
	tick := time.NewTicker(samplePause)
	defer tick.Stop()
	for sample(); ; sample() {
		select {
		case <-ctx.Done():
			sample()
			return t, errors.Join(errs...)
		case <-tick.C:
		}
	}
}

// folderSize is the size of the files in a folder.
func folderSize(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var size int64
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

// longestPause is the longest time in which a counter grew by less than least per
// second, in seconds. Counted are the steps between samples.
func longestPause(seconds []float64, counter []int64, least float64) float64 {
	var longest, current float64
	for i := 1; i < min(len(seconds), len(counter)); i++ {
		took := seconds[i] - seconds[i-1]
		if float64(counter[i]-counter[i-1]) <= least*took {
			current += took
			longest = max(longest, current)
		} else {
			current = 0
		}
	}
	return longest
}

// until cuts a list of samples at a time.
func until[T any](end float64, seconds []float64, list []T) []T {
	for i, s := range seconds {
		if s > end && i < len(list) {
			return list[:i]
		}
	}
	return list
}
