package main

import (
	"time"

	"github.com/darter-p2p/darter/integration/bench/setting"
	"github.com/darter-p2p/darter/integration/lab"
)

// The rows of the report.
const (
	startRow  = "start"  // a container, from its image's pull to its first byte
	randomRow = "random" // reads of 4 KiB
	filesRow  = "files"  // a large file in order, and a tree of small ones
	buildRow  = "build"  // `go build`, out of the image
	crowdRow  = "crowd"  // a container on many nodes at once
)

// plan says what is measured.
type plan struct {
	Rows  []string      // ROWS
	Rates []lab.Rate    // RATE: of every link, each way, one after the other; random reads have loopback
	Sizes []int64       // SIZE: of the images that are started, compressed, bytes
	Runs  int           // RUNS: at most
	Time  time.Duration // TIME: no run begins that would likely end later
	Plain bool          // PLAIN=0: start the lazy image only; an ordinary one of 3 GiB takes minutes
	Crowd int           // NODES: of the crowd
	Quick bool          // QUICK=1: all images an eighth, for a try of the benchmark itself
}

// parsePlan reads a plan from environment variables; what is not set has its default.
func parsePlan(getenv func(string) string) (plan, error) {
	r := setting.From(getenv)
	p := plan{
		Rows:  r.Words("ROWS", []string{startRow, randomRow, filesRow, buildRow, crowdRow}),
		Rates: r.Rates("RATE", lab.Gbit, 200*lab.Mbit), Sizes: r.Sizes("SIZE", 1<<30, 3<<30),
		Runs: r.Number("RUNS", 1, 100, 3), Time: r.Time("TIME", 20*time.Minute), Crowd: r.Number("NODES", 2, 32, 8), Quick: r.Flag("QUICK"),
		Plain: r.Number("PLAIN", 0, 1, 1) == 1,
	}
	if p.Quick {
		for i := range p.Sizes {
			p.Sizes[i] /= quick
		}
	}
	return p, r.Err()
}

// quick is how much smaller images are with QUICK=1.
const quick = 8

// has reports whether a row is measured.
func (p plan) has(row string) bool {
	for _, r := range p.Rows {
		if r == row {
			return true
		}
	}
	return false
}

// scale is a size of a part of an image.
func (p plan) scale(n int64) int64 {
	if p.Quick {
		return n / quick
	}
	return n
}

const startName = "start"

// started is the image of a size whose container is started.
func started(size int64) recipe {
	const small = 4000
	return recipe{Name: startName, Small: small, More: max(0, size-small*smallSize)*4/3 + 1}
}

// reads is the image that is read. Its chunks have 1 MiB.
func (p plan) reads() recipe {
	return recipe{Name: "reads", Small: int(p.scale(8000)), Large: p.scale(256 << 20), Random: p.scale(768 << 20)}
}

// fine is an image of small chunks.
func (p plan) fine() recipe {
	return recipe{Name: "fine", Random: p.scale(384 << 20), Chunk: 128 << 10}
}

// crowded is the image that many nodes start at once.
func (p plan) crowded() recipe { return recipe{Name: "crowd", Small: 200, Large: 16 << 20} }

// sources is the image that Go programs are built in.
func (p plan) sources() recipe { return recipe{Name: "go", Go: true} }

// room is more than all hosts ever have on the disk, bytes: compressed and unpacked
// images, each several times.
func (p plan) room() int64 {
	most := int64(2 << 30)
	for _, size := range p.Sizes {
		most = max(most, size)
	}
	return 8<<30 + 16*most
}
