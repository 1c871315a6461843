package harbor

import (
	"strconv"
	"time"

	"github.com/darter-p2p/darter/manager/model"
)

// oldStatus is a preheat as Harbor's old driver reads it.
type oldStatus struct {
	ID         string `json:"ID"`
	StartTime  string `json:"startTime,omitempty"`
	FinishTime string `json:"finishTime,omitempty"`
	ErrorMsg   string `json:"errorMsg,omitempty"`
	Status     string `json:"status"`
}

// oldStates are the words of the old driver; what it does not know is running to it.
var oldStates = map[model.JobState]string{
	model.Waiting: "WAITING", model.Running: "RUNNING", model.Succeeded: "SUCCESS", model.Failed: "FAILED",
}

// preheatID is the answer to a preheat.
type preheatID struct {
	ID string `json:"ID"`
}

func (h *Handler) postPreheat(r *call) (any, error) {
	var p preheat
	if err := read(r, &p); err != nil {
		return nil, err
	}
	j, err := h.create(r.Context(), p, clusterIDs(p.ExtraAttribute["cluster_ids"]), r.actor)
	if err != nil {
		return nil, err
	}
	return preheatID{strconv.FormatInt(j.ID, 10)}, nil
}

func (h *Handler) getPreheat(r *call) (any, error) {
	j, err := h.find(r)
	if err != nil {
		return nil, err
	}
	all, _, err := h.family(r.Context(), j)
	if err != nil {
		return nil, err
	}
	state, words := together(all)
	s := oldStatus{ID: strconv.FormatInt(j.ID, 10), ErrorMsg: words, Status: oldStates[state]}
	if !j.StartedAt.IsZero() {
		s.StartTime = j.StartedAt.Format(time.RFC3339)
	}
	if state.Final() {
		last := j.FinishedAt
		for _, other := range all {
			if other.FinishedAt.After(last.Time) {
				last = other.FinishedAt
			}
		}
		s.FinishTime = last.Format(time.RFC3339)
	}
	return s, nil
}

// clusterIDs reads Harbor's extra attribute: a list of numbers.
func clusterIDs(v any) (ids []int64) {
	list, _ := v.([]any)
	for _, e := range list {
		if n, ok := e.(float64); ok && n == float64(int64(n)) {
			ids = append(ids, int64(n))
		}
	}
	return ids
}
