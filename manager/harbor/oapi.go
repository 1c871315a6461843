package harbor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/internal/reference"
	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
)

// job is a job of Dragonfly's open API.
type job struct {
	ID        int64          `json:"id"`
	CreatedAt model.Time     `json:"created_at"`
	UpdatedAt model.Time     `json:"updated_at"`
	TaskID    string         `json:"task_id"`
	Type      string         `json:"type"`
	State     string         `json:"state"`
	Args      map[string]any `json:"args"`
	Result    result         `json:"result"`
	Clusters  []clusterID    `json:"scheduler_clusters"`
}

type clusterID struct {
	ID int64 `json:"id"`
}

type result struct {
	State     string     `json:"state"`
	JobStates []jobState `json:"job_states"`
}

// jobState is the outcome in one cluster.
type jobState struct {
	State   string    `json:"state"`
	Error   string    `json:"error"`
	Results []outcome `json:"results"`
}

type outcome struct {
	SuccessTasks []task `json:"success_tasks"`
	FailureTasks []task `json:"failure_tasks"`
	ClusterID    int64  `json:"scheduler_cluster_id"`
}

// task is one content on one node.
type task struct {
	URL         string `json:"url"`
	Hostname    string `json:"hostname"`
	IP          string `json:"ip"`
	Description string `json:"description,omitempty"`
}

// newStates are the words of the open API: what has not ended is pending.
var newStates = map[model.JobState]string{
	model.Waiting: "PENDING", model.Running: "PENDING", model.Succeeded: "SUCCESS", model.Failed: "FAILURE", model.Cancelled: "FAILURE",
}

// newJob is a job that is asked for.
type newJob struct {
	Type       string  `json:"type"`
	Args       preheat `json:"args"`
	ClusterIDs []int64 `json:"scheduler_cluster_ids"`
}

func (h *Handler) postJob(r *call) (any, error) {
	var body newJob
	if err := read(r, &body); err != nil {
		return nil, err
	}
	if body.Type != jobs.Preheat {
		return nil, fmt.Errorf("type %.40q, want preheat: %w", body.Type, errdefs.ErrInvalidArgument)
	}
	j, err := h.create(r.Context(), body.Args, body.ClusterIDs, r.actor)
	if err != nil {
		return nil, err
	}
	return h.describe(r, j, true)
}

func (h *Handler) getJob(r *call) (any, error) {
	j, err := h.find(r)
	if err != nil {
		return nil, err
	}
	return h.describe(r, j, true)
}

// maxPerPage bounds a list.
const maxPerPage = 100

func (h *Handler) listJobs(r *call) (any, error) {
	number := func(name string, def, most int) (int, error) {
		text := r.URL.Query().Get(name)
		if text == "" {
			return def, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return 0, fmt.Errorf("%s: %.40q, want 1 to %d: %w", name, text, most, errdefs.ErrInvalidArgument)
		}
		return n, nil
	}
	page, err := number("page", 1, 1<<20)
	if err != nil {
		return nil, err
	}
	size, err := number("per_page", 10, maxPerPage)
	if err != nil {
		return nil, err
	}
	all, err := h.Jobs.Jobs(r.Context(), (page-1)*size, size)
	if err != nil {
		return nil, err
	}
	list := []job{}
	for i := range all {
		j, err := h.describe(r, &all[i], false)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

// cluster is a cluster of Dragonfly's open API: there it has two halves, which are one here.
type cluster struct {
	ID        int64      `json:"id"`
	Name      string     `json:"name"`
	BIO       string     `json:"bio"`
	IsDefault bool       `json:"is_default"`
	CreatedAt model.Time `json:"created_at"`
	UpdatedAt model.Time `json:"updated_at"`
	Scheduler int64      `json:"scheduler_cluster_id"`
	Seed      int64      `json:"seed_peer_cluster_id"`
}

func (h *Handler) listClusters(r *call) (any, error) {
	all, err := h.Jobs.Clusters(r.Context())
	if err != nil {
		return nil, err
	}
	list := []cluster{}
	for _, c := range all {
		list = append(list, cluster{c.ID, c.Name, c.Description, c.Default, c.CreatedAt, c.UpdatedAt, c.ID, c.ID})
	}
	return list, nil
}

// describe is a job with those of other clusters, and what became of each content.
func (h *Handler) describe(r *call, j *model.Job, items bool) (job, error) {
	all, args, err := h.family(r.Context(), j)
	if err != nil {
		return job{}, err
	}
	state, _ := together(all)
	out := job{
		ID: j.ID, CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, TaskID: strconv.FormatInt(j.ID, 10), Type: jobs.Preheat,
		State: newStates[state], Result: result{State: newStates[state], JobStates: []jobState{}},
		Args: map[string]any{"type": "image", "url": args.Image, "scope": args.Scope},
	}
	if len(args.Files) > 0 {
		out.Args["type"], out.Args["url"] = "file", args.Files[0].URL
	}
	for _, one := range all {
		out.Clusters = append(out.Clusters, clusterID{one.ClusterID})
		s := jobState{State: newStates[one.State], Error: one.Error, Results: []outcome{}}
		if items {
			found, err := h.outcome(r, one, args)
			if err != nil {
				return job{}, err
			}
			s.Results = append(s.Results, found)
		}
		out.Result.JobStates = append(out.Result.JobStates, s)
		if one.UpdatedAt.After(out.UpdatedAt.Time) {
			out.UpdatedAt = one.UpdatedAt
		}
	}
	return out, nil
}

func (h *Handler) outcome(r *call, j model.Job, args jobs.Args) (outcome, error) {
	out := outcome{ClusterID: j.ClusterID, SuccessTasks: []task{}, FailureTasks: []task{}}
	items, err := h.Jobs.Items(r.Context(), j.ID)
	if err != nil || len(items) == 0 {
		return out, err
	}
	members, err := h.Jobs.Members(r.Context(), j.ClusterID)
	if err != nil {
		return out, err
	}
	byName := map[string]model.Member{}
	for _, m := range members {
		byName[m.Name] = m
	}
	base := blobBase(args.Image)
	for _, i := range items {
		m := byName[i.Member]
		t := task{URL: i.Content, Hostname: m.Hostname, IP: m.IP, Description: i.Error}
		if t.Hostname == "" {
			t.Hostname = i.Member
		}
		if strings.HasPrefix(i.Content, "sha256:") {
			t.URL = base + i.Content
		}
		switch i.State {
		case model.Succeeded:
			out.SuccessTasks = append(out.SuccessTasks, t)
		case model.Failed, model.Cancelled:
			out.FailureTasks = append(out.FailureTasks, t)
		}
	}
	return out, nil
}

// blobBase is what Harbor's table shows in front of a digest.
func blobBase(image string) string {
	i, err := reference.Parse(image)
	if err != nil {
		return ""
	}
	return "https://" + i.Registry + "/v2/" + i.Repository + "/blobs/"
}
