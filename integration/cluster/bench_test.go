package cluster

import (
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
)

// BenchmarkSwarm lets four nodes and a seed, all in one process over loopback, take
// 256 MiB each, and reports the CPU of all of them together for each byte delivered.
func BenchmarkSwarm(b *testing.B) {
	const nodes, size = 4, 256 << 20
	var used float64
	for range b.N {
		b.StopTimer()
		c := New(b)
		v := c.Put("app", size)
		stops := []func(){c.Start(pki.Seed, "seed", Options{}).Stop}
		var all []*Node
		for i := range nodes {
			n := c.Start(pki.Node, fmt.Sprintf("node%d", i), Options{})
			all, stops = append(all, n), append(stops, n.Stop)
		}
		before := cpuSeconds(b)
		b.StartTimer()
		var wg sync.WaitGroup
		for _, n := range all {
			wg.Go(func() {
				body, err := n.Fetcher.Open(b.Context(), v.Ask("app"), fetcher.All)
				if err != nil {
					b.Error(err)
					return
				}
				defer body.Close()
				if _, err := io.Copy(io.Discard, body); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		used += cpuSeconds(b) - before
		for _, stop := range stops {
			stop()
		}
		b.StartTimer()
	}
	b.SetBytes(nodes * size)
	b.ReportMetric(used/float64(b.N)/(nodes*size/1e9), "cpu-s/GB")
}

// cpuSeconds is what this process has used, user and system.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
