package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/darter-p2p/darter/integration/bench/pagecache"
	"github.com/darter-p2p/darter/integration/bench/setting"
	"github.com/darter-p2p/darter/integration/lab"
)

// Where the files of an image are; no page of them is in the page cache.
const (
	onExt4     = "ext4"     // an ordinary image on overlayfs, pulled before
	onNetwork  = "network"  // at the neighbour and the seed
	onNode     = "node"     // in the node's cache, read through FUSE
	onComplete = "complete" // the same, all there: plain files
)

// files are the rows of reading files in order: for each rate.
func (s *stage) files(ctx context.Context) ([]row, error) {
	var rows []row
	var im *pushed
	r := s.plan.reads()
	for _, rate := range s.plan.Rates {
		one := row{key: "files-" + setting.RateText(rate), unit: "MB/s of the large file, small files/s"}
		for _, what := range []string{largeFile, smallDir} {
			one.names = append(one.names, compared{onExt4 + "-" + what, ""})
			for _, where := range []string{onNetwork, onNode, onComplete} {
				one.names = append(one.names, compared{where + "-" + what, onExt4 + "-" + what})
			}
		}
		one.run = func(ctx context.Context, number int) (run, error) {
			if im == nil {
				made, err := s.held(ctx, r)
				if err != nil {
					return nil, err
				}
				im = &made
			}
			return s.file(ctx, *im, rate, number)
		}
		rows = append(rows, one)
	}
	return rows, nil
}

// file measures the files of an image in all places.
func (s *stage) file(ctx context.Context, im pushed, rate lab.Rate, number int) (run, error) {
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
		return s.wholly(ctx, im, func(at string) error { return errors.Join(s.cold(at), out.readFiles(onExt4, at)) })
	}
	lazy := func() error {
		return s.lazily(ctx, im, func(at string) error {
			err := s.shaped(ctx, rate, func() error { return out.readFiles(onNetwork, at) })
			if err != nil {
				return err
			}
			return errors.Join(s.cold(at), out.readFiles(onNode, at))
		})
	}
	complete := func() error {
		if err := s.complete(ctx, im); err != nil {
			return err
		}
		return s.lazily(ctx, im, func(at string) error { return errors.Join(s.cold(at), out.readFiles(onComplete, at)) })
	}
	return out, inTurn(number, plain, func() error { return errors.Join(lazy(), complete()) })
}

// cold drops the pages of a mounted image's files, and those of the node's chunks.
func (s *stage) cold(at string) error {
	return errors.Join(forgetTree(at), pagecache.Settle(s.Lab.DataDir()), pagecache.Drop(s.chunks()))
}

// readFiles measures the large file and the small ones.
func (r run) readFiles(where, at string) error {
	return errors.Join(r.takes(where+"-"+largeFile, func() (float64, error) {
		var n int64
		took, err := seconds(func() (err error) {
			n, err = readThrough(filepath.Join(at, largeFile), make([]byte, 128<<10))
			return err
		})
		return float64(n) / 1e6 / took, err
	}), r.takes(where+"-"+smallDir, func() (float64, error) {
		var n int
		took, err := seconds(func() (err error) {
			n, err = readTree(filepath.Join(at, smallDir))
			return err
		})
		return float64(n) / took, err
	}))
}

// complete brings all of an image to node, which mounts it from plain files from then on.
func (s *stage) complete(ctx context.Context, im pushed) error {
	for range 30 {
		plain := false
		err := s.lazily(ctx, im, func(at string) error {
			all, err := s.mount.List(ctx)
			if err != nil {
				return err
			}
			plain = true
			for _, m := range all {
				for _, b := range m.Blobs {
					plain = plain && b.Plain
				}
			}
			if plain {
				return nil
			}
			_, err = readTree(at)
			return err
		})
		if err != nil || plain {
			return err
		}
	}
	return fmt.Errorf("image %s does not become complete", im.nydus.Ref)
}

// repositoryOf is the repository of the Nydus image.
func repositoryOf(im pushed) string {
	_, path, _ := strings.Cut(im.nydus.Ref, "/")
	repository, _, _ := strings.Cut(path, ":")
	return repository
}
