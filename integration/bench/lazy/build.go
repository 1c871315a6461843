package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/darter-p2p/darter/integration/bench/setting"
	"github.com/darter-p2p/darter/integration/lab"
)

// builds are the rows of `go build` of a hello, whose compiler and sources are the
// image's: for each rate.
func (s *stage) builds(ctx context.Context) ([]row, error) {
	var rows []row
	var im *pushed
	for _, rate := range s.plan.Rates {
		rows = append(rows, row{
			key: "build-" + setting.RateText(rate), unit: "s, and bytes / bytes",
			names: []compared{{onExt4, ""}, {onNetwork, onExt4}, {"fetched-per-touched", ""}, {"fetched-per-image", ""}},
			run: func(ctx context.Context, number int) (run, error) {
				if im == nil {
					made, err := s.held(ctx, s.plan.sources())
					if err != nil {
						return nil, err
					}
					im = &made
				}
				return s.build(ctx, *im, rate, number)
			},
		})
	}
	return rows, nil
}

func (s *stage) build(ctx context.Context, im pushed, rate lab.Rate, number int) (run, error) {
	out := run{}
	if err := s.freshen(ctx); err != nil {
		return nil, err
	}
	if _, err := s.pullWhole(ctx, im); err != nil {
		return nil, err
	}
	if _, err := s.pullLazy(ctx, im); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	plain := func() error {
		return s.wholly(ctx, im, func(at string) error {
			return errors.Join(s.cold(at), out.takes(onExt4, func() (float64, error) { return s.hello(ctx, at) }))
		})
	}
	lazy := func() error {
		return s.lazily(ctx, im, func(at string) error {
			before, err := s.fetched(ctx)
			if err != nil {
				return err
			}
			err = s.shaped(ctx, rate, func() error {
				return out.takes(onNetwork, func() (float64, error) { return s.hello(ctx, at) })
			})
			if err != nil {
				return err
			}
			after, err := s.fetched(ctx)
			if err != nil {
				return err
			}
			read, err := s.touched(ctx)
			if err != nil {
				return err
			}
			bytes := after.ready() - before.ready()
			fmt.Fprintf(s.out, "build: urgent %.1f MB, window %.1f MB; the chunks touched have %.1f MB, the image %.1f MB\n",
				(after["urgent"]-before["urgent"])/1e6, (after["window"]-before["window"])/1e6, read/1e6, float64(im.nydus.Bytes)/1e6)
			out["fetched-per-touched"] = sample{Value: bytes / read}
			out["fetched-per-image"] = sample{Value: bytes / float64(im.nydus.Bytes)}
			return nil
		})
	}
	return out, inTurn(number, plain, lazy)
}

// hello builds a program by the Go tree of a mounted image, with an empty build cache.
func (s *stage) hello(ctx context.Context, at string) (float64, error) {
	dir, err := os.MkdirTemp(s.Lab.DataDir(), "hello-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module hello\n\ngo 1.22\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"), 0o644),
	)
	if err != nil {
		return 0, err
	}
	root := filepath.Join(at, goRoot)
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin", "go"), "build", "-o", "hello", ".")
	cmd.Dir = dir
	cmd.Env = []string{
		"GOROOT=" + root, "GOCACHE=" + filepath.Join(dir, "cache"), "GOPATH=" + filepath.Join(dir, "path"), "HOME=" + dir,
		"PATH=/usr/bin:/bin", "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOTELEMETRY=off",
	}
	return seconds(func() error {
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w: %s", err, said)
		}
		return nil
	})
}

// needs are bytes by who wanted them.
type needs map[string]float64

// ready is what was fetched for those who wait, or will.
func (n needs) ready() float64 { return n["urgent"] + n["window"] }

// fetched reads node's counters of compressed bytes.
func (s *stage) fetched(ctx context.Context) (needs, error) {
	transport := s.node.Host.Transport()
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+lab.RafsMetrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	n := needs{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), `darter_rafs_fetched_bytes_total{need="`)
		need, value, found := strings.Cut(rest, `"} `)
		if !ok || !found {
			continue
		}
		if n[need], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// touched is touched of node's one mount.
func (s *stage) touched(ctx context.Context) (float64, error) {
	all, err := s.mount.List(ctx)
	if err != nil {
		return 0, err
	}
	if len(all) != 1 {
		return 0, fmt.Errorf("%d mounts, want one", len(all))
	}
	im, file, err := openBootstrap(filepath.Join(s.node.Host.Data, "darter", "rafs", "mounts", all[0].ID, "image.boot"))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	bytes, err := touched(im, all[0].Mountpoint)
	return float64(bytes), err
}
