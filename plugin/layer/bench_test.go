package layer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkAgainstContainerd unpacks the same layer by Unpack and by containerd's applier
// onto an overlay, turn by turn, and reports the medians and their ratio. The layer is a
// part of the Go distribution and of this system: few large files, many small ones.
func BenchmarkAgainstContainerd(b *testing.B) {
	needRoot(b)
	b.Setenv("CONTAINERD_DISABLE_PIGZ", "1")
	b.Setenv("CONTAINERD_DISABLE_IGZIP", "1")
	archive := append(withoutEnd(packed(b, "/", "--format=pax", "usr/share/perl", "usr/share/zoneinfo")),
		packed(b, goRoot(b), "--format=pax", "./src/cmd", "./bin")...)
	for _, l := range []struct {
		name string
		blob blob
	}{{"gzip", blob{typeGzip, gzipped(b, archive)}}, {"zstd", blob{typeZstd, zstded(b, archive)}}} {
		b.Run(l.name, func(b *testing.B) { against(b, l.blob, len(archive)) })
	}
}

// withoutEnd cuts the blocks of zeros that end an archive, so that another can follow.
func withoutEnd(archive []byte) []byte {
	zero := make([]byte, 512)
	for len(archive) >= 512 && bytes.Equal(archive[len(archive)-512:], zero) {
		archive = archive[:len(archive)-512]
	}
	return archive
}

func against(b *testing.B, l blob, size int) {
	var oursWall, oursCPU, theirWall, theirCPU []float64
	for range b.N {
		root := b.TempDir()
		wall, cpu := measure(b, func(ctx context.Context) error {
			_, err := Unpack(ctx, bytes.NewReader(l.bytes), l.mediaType, root, Options{})
			return err
		})
		oursWall, oursCPU = append(oursWall, wall), append(oursCPU, cpu)
		os.RemoveAll(root)
		root = b.TempDir()
		wall, cpu = measure(b, func(ctx context.Context) error {
			_, _, err := oracle(ctx, root, []blob{{typeTar, nil}, l})
			return err
		})
		theirWall, theirCPU = append(theirWall, wall), append(theirCPU, cpu)
		os.RemoveAll(filepath.Join(root, "0"))
		os.RemoveAll(filepath.Join(root, "1"))
	}
	gb := float64(size) / 1e9
	b.ReportMetric(median(oursWall)/gb, "wall-s/GB")
	b.ReportMetric(median(oursCPU)/gb, "cpu-s/GB")
	b.ReportMetric(median(theirWall)/gb, "containerd-wall-s/GB")
	b.ReportMetric(median(theirCPU)/gb, "containerd-cpu-s/GB")
	b.ReportMetric(median(oursWall)/median(theirWall), "wall-ratio")
	b.ReportMetric(median(oursCPU)/median(theirCPU), "cpu-ratio")
}

// measure returns seconds of wall and of this process's CPU.
func measure(b *testing.B, run func(context.Context) error) (wall, cpu float64) {
	b.Helper()
	from, start := used(b), time.Now()
	if err := run(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(start).Seconds(), used(b) - from
}

func used(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
