package main

import (
	"errors"
	"os"
	"slices"

	"github.com/darter-p2p/darter/integration/bench/figure"
)

// latestPath is a copy of the last report, whatever its plan.
const latestPath = "out/bench-swarm.json"

// report is out/bench-swarm-*.json. Figures on top are the medians of those runs that
// count; of all runs where none counts.
type report struct {
	Plan   planReport `json:"plan"`
	Counts int        `json:"runs_that_count"` // those that the machine's CPU did not limit

	figures

	Runs []runReport `json:"runs"`
}

// planReport is the plan in the report.
type planReport struct {
	Nodes  int     `json:"nodes"`
	Rate   string  `json:"rate"`
	Size   int64   `json:"size"`
	Layers []int64 `json:"layers"`
	MTU    int     `json:"mtu"`
}

// figures are what is compared; each is explained in DESIGN.md.
type figures struct {
	Ratio                 float64    `json:"ratio"`
	OriginRatio           float64    `json:"origin_ratio"`
	CPUPerGB              float64    `json:"cpu_s_per_gb"`
	CPUVsCurl             float64    `json:"cpu_vs_curl"`
	CPUVsCurlWithClients  float64    `json:"cpu_vs_curl_with_clients"`
	CPUVsCurlWholeMachine float64    `json:"cpu_vs_curl_whole_machine"`
	Busy                  float64    `json:"busy"`
	BusyOthers            float64    `json:"busy_others"`
	RSSMax                int64      `json:"rss_max"`
	CopiesSent            copiesSent `json:"copies_sent"`
}

// copiesSent is what interfaces sent during the swarm, in units of all layers.
type copiesSent struct {
	Seed  float64   `json:"seed"`
	Nodes []float64 `json:"nodes"` // in the order of the nodes' names; medians: sorted in each run
}

// runReport is one run. Times are seconds, sizes bytes, rates bytes per second.
type runReport struct {
	figures
	CPULimited bool `json:"cpu_limited"` // the machine was over 75 % busy: the run does not count

	Makespan float64 `json:"makespan_s"`
	Bound    float64 `json:"bound_s"`
	Goodput  float64 `json:"tcp_goodput"`

	Origin originReport `json:"origin"`
	Curl   curlReport   `json:"curl"`
	CPU    cpuReport    `json:"cpu_s"`
	Seed   hostReport   `json:"seed"`
	Nodes  []hostReport `json:"nodes"`

	Timeline timeline `json:"timeline"`
}

// originReport is what left the registry during the swarm.
type originReport struct {
	Bodies   int64 `json:"body_bytes"` // of answers, by the relay's count
	Requests int64 `json:"requests"`
	Sent     int64 `json:"tx_bytes"` // by the interface: bodies, headers, acknowledgements
	// Answers are those that ended during the swarm, in that order.
	Answers []answered `json:"answers"`
}

// curlReport is plain curl's download of the same layers on one node.
type curlReport struct {
	Seconds  float64 `json:"seconds"`
	CPUPerGB float64 `json:"cpu_s_per_gb"` // curl and registry
	Busy     float64 `json:"busy"`
}

// cpuReport is the CPU time of the swarm, and of curl, by cgroup.
type cpuReport struct {
	Darter       float64 `json:"darter"` // all darterds and the scheduler
	Registry     float64 `json:"registry"`
	Relay        float64 `json:"relay"`
	Clients      float64 `json:"clients"`
	Machine      float64 `json:"machine"` // everything, that of others too
	Curl         float64 `json:"curl"`
	CurlRegistry float64 `json:"curl_registry"`
	CurlMachine  float64 `json:"curl_machine"`
}

// hostReport is one darterd's part.
type hostReport struct {
	Name       string  `json:"name"`
	Seconds    float64 `json:"seconds,omitempty"`      // until its client had the last byte verified
	FirstByte  float64 `json:"first_byte_s,omitempty"` // until its client had a byte
	Pause      float64 `json:"client_pause_s"`         // the longest time in which its client got nothing
	Silence    float64 `json:"uplink_pause_s"`         // the longest time in which it sent less than 1/20 of its link, before the end
	Copies     float64 `json:"copies_sent"`            // Sent in units of all layers
	Sent       int64   `json:"tx_bytes"`               // by the interface
	Uploaded   int64   `json:"uploaded"`               // pieces sent, by darterd's own count
	FromPeers  int64   `json:"from_peers"`
	FromSeed   int64   `json:"from_seed"`
	FromOrigin int64   `json:"from_origin"`
	RSSMax     int64   `json:"rss_max"`
}

// maxBusy is the busy share of the machine above which a run does not count.
const maxBusy = 0.75

// newReport takes the medians of the runs.
func newReport(p plan, runs []runReport) report {
	r := report{
		Plan: planReport{Nodes: p.Nodes, Rate: p.Rate.String(), Size: p.Size, Layers: p.layerSizes(), MTU: p.MTU},
		Runs: runs,
	}
	counted := slices.DeleteFunc(slices.Clone(runs), func(r runReport) bool { return r.CPULimited })
	r.Counts = len(counted)
	if len(counted) == 0 {
		counted = runs
	}
	of := func(value func(runReport) float64) float64 {
		values := make([]float64, len(counted))
		for i, run := range counted {
			values[i] = value(run)
		}
		return figure.Median(values)
	}
	r.figures = figures{
		Ratio:                 of(func(r runReport) float64 { return r.Ratio }),
		OriginRatio:           of(func(r runReport) float64 { return r.OriginRatio }),
		CPUPerGB:              of(func(r runReport) float64 { return r.CPUPerGB }),
		CPUVsCurl:             of(func(r runReport) float64 { return r.CPUVsCurl }),
		CPUVsCurlWithClients:  of(func(r runReport) float64 { return r.CPUVsCurlWithClients }),
		CPUVsCurlWholeMachine: of(func(r runReport) float64 { return r.CPUVsCurlWholeMachine }),
		Busy:                  of(func(r runReport) float64 { return r.Busy }),
		BusyOthers:            of(func(r runReport) float64 { return r.BusyOthers }),
		RSSMax:                int64(of(func(r runReport) float64 { return float64(r.RSSMax) })),
		CopiesSent:            copiesSent{Seed: of(func(r runReport) float64 { return r.CopiesSent.Seed })},
	}
	for i := range p.Nodes {
		r.CopiesSent.Nodes = append(r.CopiesSent.Nodes, of(func(r runReport) float64 {
			return slices.Sorted(slices.Values(r.CopiesSent.Nodes))[i]
		}))
	}
	return r
}

// medianOf is how many runs the figures on top are the medians of.
func (r report) medianOf() int {
	if r.Counts == 0 {
		return len(r.Runs)
	}
	return r.Counts
}

// write writes the report to the plan's path and to latestPath, the picture beside it.
func (r report) write(p plan) error {
	path, picture := p.paths()
	last := r.Runs[len(r.Runs)-1]
	return errors.Join(figure.Write(r, path, latestPath), os.WriteFile(picture, drawRun(p, last), 0o644))
}
