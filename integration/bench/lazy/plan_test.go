package main

import (
	"archive/tar"
	"context"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/darter-p2p/darter/integration/lab"
)

func TestParsePlan(t *testing.T) {
	all := []string{startRow, randomRow, filesRow, buildRow, crowdRow}
	for name, c := range map[string]struct {
		env  map[string]string
		want plan
		bad  bool
	}{
		"standard": {want: plan{Rows: all, Rates: []lab.Rate{lab.Gbit, 200 * lab.Mbit}, Sizes: []int64{1 << 30, 3 << 30}, Runs: 3, Time: 20 * time.Minute, Plain: true, Crowd: 8}},
		"all": {
			env:  map[string]string{"ROWS": "build start", "RATE": "loopback", "SIZE": "512MiB", "RUNS": "2", "TIME": "5m", "QUICK": "1", "PLAIN": "0"},
			want: plan{Rows: []string{buildRow, startRow}, Rates: []lab.Rate{0}, Sizes: []int64{64 << 20}, Runs: 2, Time: 5 * time.Minute, Quick: true, Crowd: 8},
		},
		"row":  {env: map[string]string{"ROWS": "end"}, bad: true},
		"rate": {env: map[string]string{"RATE": "fast"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsePlan(func(name string) string { return c.env[name] })
			if (err != nil) != c.bad {
				t.Fatalf("error %v, want one: %v", err, c.bad)
			}
			if !c.bad && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestTreesAreTheSame writes a small image's layers twice: the report of another day
// compares the same bytes.
func TestTreesAreTheSame(t *testing.T) {
	r := recipe{Name: "t", Small: 150, Large: 200_001, Random: 5000, More: 9 << 20}
	list := func() (names []string, bytes int64) {
		for _, entries := range r.layers() {
			in, out := io.Pipe()
			go func() {
				w := tar.NewWriter(out)
				err := entries(context.Background(), w)
				if err == nil {
					err = w.Close()
				}
				out.CloseWithError(err)
			}()
			for archive := tar.NewReader(in); ; {
				h, err := archive.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				names, bytes = append(names, h.Name), bytes+h.Size
			}
			_, _ = io.Copy(io.Discard, in) // what is behind the end of the archive
		}
		return names, bytes
	}
	names, bytes := list()
	again, same := list()
	if !slices.Equal(names, again) || bytes != same {
		t.Errorf("%d files of %d bytes, then %d of %d", len(names), bytes, len(again), same)
	}
	if least := r.Large + r.Random + r.More; bytes < least || !slices.Contains(names, firstFile) || !slices.Contains(names, smallDir+"/1/149") {
		t.Errorf("%d files of %d bytes, want at least %d", len(names), bytes, least)
	}
}

// TestPlaces are the offsets of random reads: each chunk once, each page once.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	far := strides(10<<20, 3<<20, r)
	slices.Sort(far)
	if !slices.Equal(far, []int64{0, 3 << 20, 6 << 20}) {
		t.Error(far)
	}
	near := within(far, 2*page, 100, r)
	slices.Sort(near)
	if !slices.Equal(near, []int64{0, page, 3 << 20, 3<<20 + page, 6 << 20, 6<<20 + page}) {
		t.Error(near)
	}
	if n := len(within(far, 2*page, 4, r)); n != 4 {
		t.Errorf("%d places, want 4", n)
	}
}
