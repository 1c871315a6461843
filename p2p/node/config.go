package node

import (
	"errors"
	"time"

	"github.com/darter-p2p/darter/p2p/download"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/upload"
)

// Config is what a Node can be told. Start from Default.
type Config struct {
	// Seed is whether the host reads origins for others.
	Seed     bool
	Download download.Config
	Upload   upload.Config
	// Limits hold for all bytes; nil = none.
	Limits *limit.Limits
	// HaveDelay is the longest time between two sendings of haves; it is an eighth of the
	// usual time of a piece where that is less.
	HaveDelay time.Duration
	// SchedulerWait is how long a new download waits for a scheduler that is away.
	SchedulerWait time.Duration
	// OriginStall is how long an origin may send nothing before its answer is dropped.
	OriginStall time.Duration
	// SlowRate, in bytes a second: where less comes from neighbours, they are compared
	// with the origin (pace.go). 0 = never.
	SlowRate int64
	// PartStall is how long a neighbour may send nothing of a part before it is read by
	// pieces (part.go).
	PartStall time.Duration
	// PartSettle is how long no part of a task is asked for before the pieces that parts
	// were of are fetched, for others.
	PartSettle time.Duration
	// OriginTries is how often in a row an origin may fail without a new byte.
	OriginTries int
	// IdleAfter is how long a complete task without neighbours or readers, or a link
	// that no task needs, is kept in memory.
	IdleAfter time.Duration
}

// Default returns the settings of a node.
func Default() Config {
	pieces := download.Default()
	pieces.RepeatAfter = 2 * batchTime // a seed says that late which piece it sends
	return Config{
		Download: pieces, Upload: upload.Default(),
		HaveDelay: 10 * time.Millisecond, SchedulerWait: 5 * time.Second,
		OriginStall: 10 * time.Second, OriginTries: 3, SlowRate: 1_500_000, IdleAfter: time.Minute,
		PartStall: 250 * time.Millisecond, PartSettle: time.Second,
	}
}

// DefaultSeed returns the settings of a seed.
func DefaultSeed() Config {
	c := Default()
	c.Seed = true
	c.Upload = upload.DefaultSeed()
	return c
}

// SetSlots sets how many pieces are sent at a time and how many neighbours they are taken
// from; 0 = as it is, within the other.
func (c *Config) SetSlots(upload, download int) {
	if upload != 0 {
		c.Upload.Slots = upload
		c.Download.MaxSlots = min(c.Download.MaxSlots, upload)
		c.Download.Slots = min(c.Download.Slots, upload)
	}
	if download != 0 {
		c.Download.Slots, c.Download.MaxSlots = download, download
	}
}

// Validate reports the first field that is out of range.
func (c Config) Validate() error {
	if err := c.Upload.Validate(); err != nil {
		return err
	}
	if err := c.Download.Validate(); err != nil {
		return err
	}
	switch {
	case c.HaveDelay < 0 || c.HaveDelay > time.Second:
		return errors.New("have delay: want 0 to 1s")
	case c.OriginStall <= 0 || c.SchedulerWait < 0 || c.IdleAfter <= 0 || c.PartStall <= 0 || c.PartSettle <= 0:
		return errors.New("node: times must be more than 0")
	case c.SlowRate < 0:
		return errors.New("slow rate: want 0 or more")
	case c.OriginTries < 1 || c.OriginTries > 100:
		return errors.New("origin tries: want 1 to 100")
	}
	return nil
}
