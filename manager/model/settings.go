package model

import (
	"fmt"
	"slices"
)

// Configuration is one version of what the manager sets for a cluster, or for all
// (ClusterID 0). Rows are never changed.
type Configuration struct {
	// ID orders all configurations; it is the version.
	ID        int64    `json:"version" gorm:"primaryKey"`
	ClusterID int64    `json:"cluster_id"`
	Settings  Settings `json:"settings" gorm:"serializer:json"`
	Author    string   `json:"author"`
	Comment   string   `json:"comment,omitempty"`
	CreatedAt Time     `json:"created_at" gorm:"autoCreateTime:false"`
}

// Validate checks the settings and the comment.
func (c *Configuration) Validate() error {
	if c.ClusterID < 0 {
		return invalid("cluster_id", "%d", c.ClusterID)
	}
	if err := checkText("comment", c.Comment); err != nil {
		return err
	}
	return c.Settings.Validate()
}

// Settings are what schedulers and nodes take over while they run. What is nil stays
// as the member's own file says.
type Settings struct {
	Limits Limits `json:"limits,omitzero"`
	Swarm  Swarm  `json:"swarm,omitzero"`
	Pieces Pieces `json:"pieces,omitzero"`
	Disk   Disk   `json:"disk,omitzero"`
	Block  Block  `json:"block,omitzero"`
}

// Limits are rates of every host, in bytes per second; 0 = no limit.
type Limits struct {
	Upload     *int64 `json:"upload,omitempty"`     // all that a host sends
	Download   *int64 `json:"download,omitempty"`   // all that it takes
	Task       *int64 `json:"task,omitempty"`       // of one content, each way
	Window     *int64 `json:"window,omitempty"`     // taken for readers ahead of their need
	Background *int64 `json:"background,omitempty"` // taken for nobody who waits
}

// Swarm is how schedulers connect the nodes that take a task. What is less than its
// neighbours allow, or more, follows them.
type Swarm struct {
	Neighbours      *int64 `json:"neighbours,omitempty"`       // mean number of a node's in a task
	LargeSwarm      *int64 `json:"large_swarm,omitempty"`      // nodes above which large_neighbours counts
	LargeNeighbours *int64 `json:"large_neighbours,omitempty"` // the mean in a large swarm
	SeedDegree      *int64 `json:"seed_degree,omitempty"`      // most neighbours of a seed
	RackNeighbours  *int64 `json:"rack_neighbours,omitempty"`  // least from the own rack and from outside
	Bridges         *int64 `json:"bridges,omitempty"`          // links from a zone to others, per task
}

// Pieces is how many pieces move at a time.
type Pieces struct {
	UploadSlots   *int64 `json:"upload_slots,omitempty"`
	DownloadSlots *int64 `json:"download_slots,omitempty"`
}

// Disk is how nodes keep pieces.
type Disk struct {
	Quota      *int64 `json:"quota,omitempty"`       // bytes; 0 = none
	KeepFree   *int64 `json:"keep_free,omitempty"`   // bytes of the file system left free
	TTLSeconds *int64 `json:"ttl_seconds,omitempty"` // since the last use; 0 = forever
}

// Block is what the piece network does not download and not serve. Clients that can go to
// a registry themselves do (fetcher/DESIGN.md).
type Block struct {
	Applications []string `json:"applications,omitempty"` // names that downloads are made for
	URLs         []string `json:"urls,omitempty"`         // regular expressions; a registry's content is https://<host>/v2/<repository>/{blobs,manifests}/<digest or tag>
	Tags         []string `json:"tags,omitempty"`         // that users give downloads; no registry's tags
}

// minRate is the lowest limit that nodes accept, in bytes/s.
const minRate = 1 << 20

// Validate reports the first value that a member would refuse.
func (s *Settings) Validate() error {
	for _, f := range s.numbers() {
		if f.value == nil {
			continue
		}
		v := *f.value
		if v < f.least || v > f.most {
			return invalid(f.name, "%d is not within %d and %d", v, f.least, f.most)
		}
		if f.rate && v != 0 && v < minRate {
			return invalid(f.name, "%d bytes/s, want 0 or at least %d", v, minRate)
		}
	}
	if err := checkList("block.applications", s.Block.Applications, checkText); err != nil {
		return err
	}
	if err := checkList("block.urls", s.Block.URLs, checkPattern); err != nil {
		return err
	}
	return checkList("block.tags", s.Block.Tags, checkText)
}

// number is one numeric setting and its range.
type number struct {
	name        string
	value       *int64
	least, most int64
	rate        bool
}

const (
	mostBytes = 1 << 60
	mostRate  = 1 << 50
)

func (s *Settings) numbers() []number {
	rate := func(name string, v *int64) number { return number{"limits." + name, v, 0, mostRate, true} }
	return []number{
		rate("upload", s.Limits.Upload), rate("download", s.Limits.Download), rate("task", s.Limits.Task),
		rate("window", s.Limits.Window), rate("background", s.Limits.Background),
		{"swarm.neighbours", s.Swarm.Neighbours, 2, 256, false},
		{"swarm.large_swarm", s.Swarm.LargeSwarm, 1, 1e6, false},
		{"swarm.large_neighbours", s.Swarm.LargeNeighbours, 2, 256, false},
		{"swarm.seed_degree", s.Swarm.SeedDegree, 1, 10000, false},
		{"swarm.rack_neighbours", s.Swarm.RackNeighbours, 0, 128, false},
		{"swarm.bridges", s.Swarm.Bridges, 0, 256, false},
		{"pieces.upload_slots", s.Pieces.UploadSlots, 1, 1024, false},
		{"pieces.download_slots", s.Pieces.DownloadSlots, 1, 64, false},
		{"disk.quota", s.Disk.Quota, 0, mostBytes, false},
		{"disk.keep_free", s.Disk.KeepFree, 0, mostBytes, false},
		{"disk.ttl_seconds", s.Disk.TTLSeconds, 0, 10 * 365 * 86400, false},
	}
}

// Over returns s where it says something, else what base says. Block lists add up.
func (s Settings) Over(base Settings) Settings {
	out := s
	take := func(into **int64, from *int64) {
		if *into == nil {
			*into = from
		}
	}
	take(&out.Limits.Upload, base.Limits.Upload)
	take(&out.Limits.Download, base.Limits.Download)
	take(&out.Limits.Task, base.Limits.Task)
	take(&out.Limits.Window, base.Limits.Window)
	take(&out.Limits.Background, base.Limits.Background)
	take(&out.Swarm.Neighbours, base.Swarm.Neighbours)
	take(&out.Swarm.LargeSwarm, base.Swarm.LargeSwarm)
	take(&out.Swarm.LargeNeighbours, base.Swarm.LargeNeighbours)
	take(&out.Swarm.SeedDegree, base.Swarm.SeedDegree)
	take(&out.Swarm.RackNeighbours, base.Swarm.RackNeighbours)
	take(&out.Swarm.Bridges, base.Swarm.Bridges)
	take(&out.Pieces.UploadSlots, base.Pieces.UploadSlots)
	take(&out.Pieces.DownloadSlots, base.Pieces.DownloadSlots)
	take(&out.Disk.Quota, base.Disk.Quota)
	take(&out.Disk.KeepFree, base.Disk.KeepFree)
	take(&out.Disk.TTLSeconds, base.Disk.TTLSeconds)
	out.Block.Applications = union(base.Block.Applications, s.Block.Applications)
	out.Block.URLs = union(base.Block.URLs, s.Block.URLs)
	out.Block.Tags = union(base.Block.Tags, s.Block.Tags)
	return out
}

// union returns the entries of both lists, sorted, each once.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// String names the version in log lines.
func (c *Configuration) String() string { return fmt.Sprintf("version %d", c.ID) }
