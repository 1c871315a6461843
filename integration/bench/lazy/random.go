package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"github.com/darter-p2p/darter/integration/bench/pagecache"
)

// Names of random reads, by where the chunk is.
const (
	plainWarm    = "ext4-warm" // an ordinary image on overlayfs
	plainDisk    = "ext4-disk"
	lazyWarm     = "warm"      // the page is in the page cache
	lazyHere     = "here"      // the chunk is in the node's cache, whose file is in the page cache
	lazyHereDisk = "here-disk" // and is not
	lazyNear     = "neighbour" // a neighbour has the chunk
	lazyOrigin   = "origin"    // only the registry has it, before the container starts
)

// randoms are the rows of random reads: for each size of chunks. Links have no shape.
func (s *stage) randoms(ctx context.Context) ([]row, error) {
	var rows []row
	for _, r := range []recipe{s.plan.reads(), s.plan.fine()} {
		chunk, name := int64(1<<20), "1MiB"
		if r.Chunk > 0 {
			chunk, name = int64(r.Chunk), "128KiB"
		}
		var im *pushed
		rows = append(rows, row{
			key: "random-" + name, unit: "µs",
			names: []compared{
				{plainWarm, ""}, {lazyWarm, plainWarm}, {plainDisk, ""}, {lazyHereDisk, plainDisk}, {lazyHere, plainDisk},
				{lazyNear, plainDisk}, {lazyOrigin, plainDisk},
			},
			run: func(ctx context.Context, number int) (run, error) {
				if im == nil {
					made, err := s.held(ctx, r)
					if err != nil {
						return nil, err
					}
					im = &made
				}
				return s.random(ctx, *im, r, chunk, number)
			},
		})
	}
	return rows, nil
}

// reads are how many pages are read where they cost little; remote ones are fewer.
const (
	warmReads = 20_000
	diskReads = 2000
	rounds    = 5 // of warm reads, by turns with those of ext4
)

// random measures single reads of a page: each remote one is the first of its chunk and
// of the pieces around it.
func (s *stage) random(ctx context.Context, im pushed, r recipe, chunk int64, number int) (run, error) {
	out := run{}
	chance := rand.New(rand.NewPCG(uint64(number), 4))
	places := strides(r.Random, chunk+2<<20, chance)
	pages := within(places, chunk, diskReads, chance)
	if err := s.freshen(ctx); err != nil {
		return nil, err
	}
	if _, err := s.pullWhole(ctx, im); err != nil {
		return nil, err
	}
	if _, err := s.pullLazy(ctx, im); err != nil {
		return nil, err
	}
	if err := pagecache.Settle(s.Lab.DataDir()); err != nil { // the neighbour has the pieces in its page cache
		return nil, err
	}
	err := s.wholly(ctx, im, func(whole string) error {
		plain, err := openReader(filepath.Join(whole, randomFile))
		if err != nil {
			return err
		}
		defer plain.file.Close()
		return s.lazily(ctx, im, func(at string) error {
			lazy, err := openReader(filepath.Join(at, randomFile))
			if err != nil {
				return err
			}
			defer lazy.file.Close()
			if err := out.read(lazyNear, lazy, places); err != nil {
				return err
			}
			if err := errors.Join(pagecache.Settle(s.chunks()), lazy.forget()); err != nil {
				return err
			}
			if err := out.read(lazyHere, lazy, pages); err != nil {
				return err
			}
			err = inTurn(number, func() error {
				return errors.Join(plain.forget(), out.read(plainDisk, plain, pages))
			}, func() error {
				return errors.Join(lazy.forget(), pagecache.Drop(s.chunks()), out.read(lazyHereDisk, lazy, pages))
			})
			if err != nil {
				return err
			}
			return out.warm(plain, lazy, pages, chance)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, s.fromOrigin(ctx, im, out, places)
}

// fromOrigin measures reads of chunks that nobody has but the registry. The seed reads
// ahead of them, so only a few of them are really the first.
func (s *stage) fromOrigin(ctx context.Context, im pushed, out run, places []int64) error {
	if err := s.strip(ctx); err != nil {
		return err
	}
	if _, err := s.pullLazy(ctx, im); err != nil {
		return err
	}
	err := s.lazily(ctx, im, func(at string) error {
		lazy, err := openReader(filepath.Join(at, randomFile))
		if err != nil {
			return err
		}
		defer lazy.file.Close()
		return out.read(lazyOrigin, lazy, places[:min(len(places), 40)])
	})
	if err != nil {
		return err
	}
	return s.hold(ctx, im, repositoryOf(im))
}

// read measures the pages at offsets under a name.
func (r run) read(name string, from reader, offsets []int64) error {
	var p99 float64
	one, err := during(func() (p50 float64, err error) {
		p50, p99, err = from.pages(offsets)
		return p50, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	one.P99, one.Count = p99, len(offsets)
	r[name] = one
	return nil
}

// warm measures pages that are in the page cache: both files by turns.
func (r run) warm(plain, lazy reader, pages []int64, chance *rand.Rand) error {
	for _, one := range []reader{plain, lazy} {
		if _, _, err := one.pages(pages); err != nil {
			return err
		}
	}
	offsets := make([]int64, warmReads)
	for i := range offsets {
		offsets[i] = pages[chance.IntN(len(pages))]
	}
	best := run{}
	for range rounds {
		for name, from := range map[string]reader{plainWarm: plain, lazyWarm: lazy} {
			one := run{}
			if err := one.read(name, from, offsets); err != nil {
				return err
			}
			if old, ok := best[name]; !ok || one[name].Value < old.Value {
				best[name] = one[name]
			}
		}
	}
	for name, one := range best {
		r[name] = one
	}
	return nil
}
