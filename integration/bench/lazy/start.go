package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/darter-p2p/darter/integration/bench/setting"
	"github.com/darter-p2p/darter/integration/lab"
)

// starts are the rows of containers that start: for each size of image and each rate.
func (s *stage) starts(ctx context.Context) ([]row, error) {
	var rows []row
	for _, size := range s.plan.Sizes {
		var im *pushed
		for _, rate := range s.plan.Rates {
			facts := map[string]float64{}
			rows = append(rows, row{
				key: fmt.Sprintf("start-%s-%s", setting.SizeText(size), setting.RateText(rate)), unit: "s", facts: facts,
				names: []compared{
					{"plain-pull", ""}, {"plain-first-byte", ""}, {"plain-both", ""},
					{"lazy-pull", "plain-pull"}, {"lazy-first-byte", "plain-first-byte"}, {"lazy-both", "plain-both"},
				},
				run: func(ctx context.Context, number int) (run, error) {
					if im == nil {
						made, err := s.held(ctx, started(size))
						if err != nil {
							return nil, err
						}
						im = &made
					}
					facts["image_bytes"], facts["bootstrap_bytes"] = float64(im.nydus.Bytes), float64(im.bootstrap)
					facts["goal_s"] = 0.5
					if rate > 0 {
						facts["goal_s"] += 2 * rate.Seconds(im.bootstrap)
					}
					return s.start(ctx, *im, rate, number)
				},
			})
		}
	}
	return rows, nil
}

// held is an image that is in the registry, at the seed and at the near node.
func (s *stage) held(ctx context.Context, r recipe) (pushed, error) {
	im, err := s.push(ctx, r)
	if err != nil {
		return im, err
	}
	return im, s.hold(ctx, im, "bench/"+r.Name+"-nydus")
}

// start measures both nodes: from the pull's begin to its end, and from a container's
// creation to the first byte that its process has read of the image.
func (s *stage) start(ctx context.Context, im pushed, rate lab.Rate, number int) (run, error) {
	r := run{}
	if err := s.freshen(ctx); err != nil {
		return nil, err
	}
	both := func(prefix string, pull func() (float64, error), first func() (float64, error)) func() error {
		return func() error {
			if err := s.settle(); err != nil {
				return err
			}
			return s.shaped(ctx, rate, func() error {
				if err := r.takes(prefix+"-pull", pull); err != nil {
					return err
				}
				if err := r.takes(prefix+"-first-byte", first); err != nil {
					return err
				}
				sum := r[prefix+"-pull"]
				sum.Value += r[prefix+"-first-byte"].Value
				r[prefix+"-both"] = sum
				return nil
			})
		}
	}
	parts := []func() error{both("lazy",
		func() (float64, error) { return s.pullLazy(ctx, im) },
		func() (float64, error) { return s.firstByte(ctx, s.node.Containerd, lab.Door, im.nydus.Ref) })}
	if s.plan.Plain {
		parts = append(parts, both("plain",
			func() (float64, error) { return s.pullWhole(ctx, im) },
			func() (float64, error) { return s.firstByte(ctx, s.plain, "overlayfs", im.ordinary.Ref) }))
	}
	if err := inTurn(number, parts...); err != nil {
		return nil, err
	}
	return r, s.unmounted(ctx)
}

// firstByte runs a container that writes a file of the image to its output, and returns
// when its first byte was there, in seconds from the container's creation.
func (s *stage) firstByte(ctx context.Context, c *lab.Containerd, snapshotter, ref string) (float64, error) {
	id := "first-" + c.Host.Name
	cmd := c.Host.Command(ctx, "ctr", "-a", c.Socket, "run", "--rm", "--snapshotter", snapshotter,
		"--cgroup", "/"+s.Lab.ID()+"/"+id, ref, id, "/bin/busybox", "cat", "/"+firstFile)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	reader := bufio.NewReader(pipe)
	_, first := reader.ReadByte()
	took := time.Since(begin).Seconds()
	rest, _ := io.Copy(io.Discard, reader) // its length says how it went
	if err := cmd.Wait(); err != nil || first != nil || rest != smallSize-1 {
		return 0, fmt.Errorf("container on %s: %w, %d bytes: %s", c.Host.Name, err, rest+1, strings.TrimSpace(complaints.String()))
	}
	return took, nil
}
