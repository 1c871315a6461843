package model

import (
	"encoding/json"
	"slices"
)

// JobState is how far a job or an item of it is.
type JobState string

// The states of jobs and items. The last three are final.
const (
	Waiting   JobState = "waiting"
	Running   JobState = "running"
	Succeeded JobState = "succeeded"
	Failed    JobState = "failed"
	Cancelled JobState = "cancelled"
)

// Final reports whether a state is never left but by a retry.
func (s JobState) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// MaxJobArgs is the most bytes of a job's arguments.
const MaxJobArgs = 256 << 10

// Job is work that one manager at a time does.
type Job struct {
	ID   int64  `json:"id" gorm:"primaryKey"`
	Kind string `json:"kind"` // "preheat", "delete", …
	// ClusterID is the cluster that the job is for.
	ClusterID int64 `json:"cluster_id"`
	// Args are the kind's own.
	Args   json.RawMessage `json:"args" gorm:"serializer:json"`
	State  JobState        `json:"state"`
	Result json.RawMessage `json:"result,omitempty" gorm:"serializer:json"`
	Error  string          `json:"error,omitempty"`
	// Cancel asks the holder to stop.
	Cancel bool   `json:"cancel"`
	Actor  string `json:"actor,omitempty"` // who made it

	// Holder is the manager that works at the job, until LeaseUntil; Attempt counts the claims.
	Holder     string `json:"holder,omitempty"`
	LeaseUntil Time   `json:"lease_until,omitzero"`
	Attempt    int64  `json:"attempt"`

	CreatedAt  Time `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt  Time `json:"updated_at" gorm:"autoUpdateTime:false"`
	StartedAt  Time `json:"started_at,omitzero"`
	FinishedAt Time `json:"finished_at,omitzero"`
}

// JobKinds returns the kinds of jobs.
func JobKinds() []string { return []string{"preheat", "delete", "gc", "sync", "distribution"} }

// Validate checks kind and size; the arguments are the kind's own matter.
func (j *Job) Validate() error {
	if !slices.Contains(JobKinds(), j.Kind) {
		return invalid("kind", "%.40q, want one of %v", j.Kind, JobKinds())
	}
	if j.ClusterID <= 0 {
		return invalid("cluster_id", "%d, want a cluster", j.ClusterID)
	}
	if len(j.Args) > MaxJobArgs {
		return invalid("args", "%d bytes, want at most %d", len(j.Args), MaxJobArgs)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(j.Args, &object); err != nil || object == nil {
		return invalid("args", "want an object")
	}
	return nil
}

// JobItem is one part of a job's result: one content on one member.
type JobItem struct {
	ID     int64  `json:"id" gorm:"primaryKey"`
	JobID  int64  `json:"job_id"`
	Member string `json:"member,omitempty"` // the name of the node or seed
	// Content is a layer's digest or a URL.
	Content  string   `json:"content,omitempty"`
	State    JobState `json:"state"`
	Error    string   `json:"error,omitempty"`
	Pieces   int64    `json:"pieces"`   // of the content
	Verified int64    `json:"verified"` // pieces that the member holds, checked
	Bytes    int64    `json:"bytes"`    // of the content
	// UpdatedAt is when the member last said something of it.
	UpdatedAt Time `json:"updated_at" gorm:"autoUpdateTime:false"`
}
