package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/darter-p2p/darter/integration/bench/cputime"
)

// Goals, of issue 6.
const (
	maxCores = 1.0
	maxRSS   = 1 << 30
	maxList  = 0.2 // seconds, p99
)

// report is out/bench-manager.json. Times are in seconds and sizes in bytes.
type report struct {
	Plan           plan         `json:"plan"`
	ConnectSeconds float64      `json:"connect_s"` // until every node had been told its state
	Connecting     usage        `json:"connecting"`
	Idling         usage        `json:"idling"`
	IdleStates     int64        `json:"idle_states"` // that nodes were told while nothing changed
	Changing       usage        `json:"changing"`
	Rounds         []roundTimes `json:"rounds"` // one for each change
	Lists          []listTimes  `json:"lists"`  // first all, then those that were asked for while a change was under way
	ReturnSeconds  float64      `json:"return_s"`
	Returning      usage        `json:"returning"` // of the new process
}

// roundTimes is one change: when the request was answered, and when nodes had it, from
// the request's begin.
type roundTimes struct {
	Answered float64 `json:"answered_s"`
	Median   float64 `json:"median_s"`
	Last     float64 `json:"last_s"`
}

func newRound(answered time.Duration, times []time.Duration) roundTimes {
	slices.Sort(times)
	return roundTimes{answered.Seconds(), quantile(times, 0.5), quantile(times, 1)}
}

// listTimes is how long one list's answers took.
type listTimes struct {
	Path   string  `json:"path"`
	Count  int     `json:"count"`
	Median float64 `json:"median_s"`
	P99    float64 `json:"p99_s"`
	Last   float64 `json:"last_s"`
}

// The sums over lists.
const (
	allLists    = "all"
	changeLists = "all while a change is under way"
)

// summarise sums up all answers, and those of each list.
func summarise(all []answer) []listTimes {
	by := map[string][]time.Duration{}
	order := []string{allLists, changeLists}
	for _, a := range all {
		if by[a.path] == nil {
			order = append(order, a.path)
		}
		by[a.path] = append(by[a.path], a.took)
		by[allLists] = append(by[allLists], a.took)
		if a.change {
			by[changeLists] = append(by[changeLists], a.took)
		}
	}
	var out []listTimes
	for _, path := range order {
		times := slices.Sorted(slices.Values(by[path]))
		out = append(out, listTimes{path, len(times), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1)})
	}
	return out
}

// quantile returns the least of sorted times that a share of them does not exceed, in
// seconds; 0 of none.
func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(share*float64(len(sorted)) + 0.999999)
	return sorted[min(max(i-1, 0), len(sorted)-1)].Seconds()
}

// usage is what the manager's process used in a phase, and how busy the machine was.
type usage struct {
	Seconds float64 `json:"s"`
	Cores   float64 `json:"cores"` // CPU time / time
	CPU     float64 `json:"cpu_s"`
	RSS     int64   `json:"rss"`      // at the phase's end
	Peak    int64   `json:"peak_rss"` // of the process so far
	Busy    float64 `json:"machine_busy"`
	Steal   float64 `json:"machine_steal"`

	pid     int
	at      time.Time
	machine cputime.Machine
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f s: %.2f cores (%.1f s), RSS %d MiB, peak %d MiB; machine %.0f %% busy, %.0f %% stolen",
		u.Seconds, u.Cores, u.CPU, u.RSS>>20, u.Peak>>20, 100*u.Busy, 100*u.Steal)
}

// readUsage reads a process's counters.
func readUsage(pid int) (u usage, err error) {
	u.pid, u.at = pid, time.Now()
	if u.machine, err = cputime.ReadMachine(); err != nil {
		return u, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return u, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	for _, field := range fields[11:13] { // user and system time, in ticks of 10 ms
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		u.CPU += float64(n) / 100
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		for name, into := range map[string]*int64{"VmRSS:": &u.RSS, "VmHWM:": &u.Peak} {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					return u, fmt.Errorf("/proc/%d/status: %w", pid, err)
				}
				*into = n << 10
			}
		}
	}
	return u, nil
}

// since is what was used since an earlier reading; a new process began with nothing.
func (u usage) since(earlier usage) usage {
	u.Seconds = u.at.Sub(earlier.at).Seconds()
	if u.pid == earlier.pid {
		u.CPU -= earlier.CPU
	}
	u.Cores = u.CPU / u.Seconds
	machine := u.machine.Since(earlier.machine)
	u.Busy, u.Steal = machine.Share(), machine.Steal()
	return u
}

// print shows the figures beside their goals.
func (r *report) print(out io.Writer) {
	var last, median []float64
	for _, one := range r.Rounds {
		last, median = append(last, one.Last), append(median, one.Median)
	}
	fmt.Fprintf(out, "\n%d nodes connected after %.1f s, all came back %.1f s after the manager was killed\n", r.Plan.Nodes, r.ConnectSeconds, r.ReturnSeconds)
	fmt.Fprintf(out, "a change was at half of the nodes after %.2f s, at the last after %.2f s (worst of %d)\n", slices.Max(median), slices.Max(last), len(r.Rounds))
	for _, l := range r.Lists {
		fmt.Fprintf(out, "%-40s %4d answers, median %.3f s, p99 %.3f s, slowest %.3f s\n", l.Path, l.Count, l.Median, l.P99, l.Last)
	}
	for _, g := range []struct {
		what string
		good bool
	}{
		{fmt.Sprintf("CPU keeping alive %.2f cores, with changes and lists %.2f (goal ≤ %.0f)", r.Idling.Cores, r.Changing.Cores, maxCores),
			max(r.Idling.Cores, r.Changing.Cores) <= maxCores},
		{fmt.Sprintf("peak RSS %d MiB (goal ≤ %d)", max(r.Changing.Peak, r.Returning.Peak)>>20, maxRSS>>20), max(r.Changing.Peak, r.Returning.Peak) <= maxRSS},
		{fmt.Sprintf("p99 of lists %.3f s, while a change is under way %.3f s (goal ≤ %.1f)", r.Lists[0].P99, r.Lists[1].P99, maxList), r.Lists[1].P99 <= maxList},
	} {
		word := "MISSED"
		if g.good {
			word = "ok"
		}
		fmt.Fprintf(out, "%s: %s\n", word, g.what)
	}
}
