package main

import (
	"testing"
	"time"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p/limit"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
)

func TestLimitsOfTheManager(t *testing.T) {
	file := limit.Config{Upload: 800e6, Task: 80e6}
	rate := func(bytes int64) *int64 { return &bytes }
	for name, tt := range map[string]struct {
		set  *managerv1.Limits
		want limit.Config
		bad  bool
	}{
		"nothing":   {nil, file, false},
		"empty":     {&managerv1.Limits{}, file, false},
		"one":       {&managerv1.Limits{Upload: rate(50e6)}, limit.Config{Upload: 400e6, Task: 80e6}, false},
		"none":      {&managerv1.Limits{Upload: rate(0)}, limit.Config{Task: 80e6}, false},
		"all":       {&managerv1.Limits{Upload: rate(2e6), Download: rate(3e6), Task: rate(4e6), Window: rate(5e6), Background: rate(6e6)}, limit.Config{Upload: 16e6, Download: 24e6, Task: 32e6, Window: 40e6, Background: 48e6}, false},
		"too slow":  {&managerv1.Limits{Upload: rate(1000)}, limit.Config{}, true},
		"negative":  {&managerv1.Limits{Task: rate(-1)}, limit.Config{}, true},
		"unlimited": {&managerv1.Limits{Task: rate(0), Upload: rate(0)}, limit.Config{}, false},
	} {
		got, err := limitsOver(file, tt.set)
		if (err != nil) != tt.bad || err == nil && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
	if file.Upload != config.Rate(800e6) {
		t.Error("the file's limits were changed")
	}
}

func TestSlotsAndSpaceOfTheManager(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	c, err := slotsOver(node.Default(), &managerv1.Pieces{UploadSlots: n(2)})
	if err != nil || c.Upload.Slots != 2 || c.Download.Slots != 2 || c.Download.MaxSlots != 2 {
		t.Errorf("upload slots: %+v, %v", c, err)
	}
	if c, err = slotsOver(node.DefaultSeed(), &managerv1.Pieces{DownloadSlots: n(5)}); err != nil || c.Upload.Slots != 6 || c.Download.Slots != 5 || c.Download.MaxSlots != 5 {
		t.Errorf("download slots: %+v, %v", c, err)
	}
	if c, err = slotsOver(node.Default(), nil); err != nil || c.Upload != node.Default().Upload || c.Download != node.Default().Download {
		t.Errorf("nothing: %+v, %v", c, err)
	}
	if _, err = slotsOver(node.Default(), &managerv1.Pieces{DownloadSlots: n(65)}); err == nil {
		t.Error("65 download slots are taken")
	}
	file := store.Space{Quota: 1, Floor: 2, TTL: 3}
	for name, tt := range map[string]struct {
		set  *managerv1.Disk
		want store.Space
		bad  bool
	}{
		"nothing":  {nil, file, false},
		"one":      {&managerv1.Disk{Quota: n(0)}, store.Space{Floor: 2, TTL: 3}, false},
		"all":      {&managerv1.Disk{Quota: n(7), KeepFree: n(8), TtlSeconds: n(9)}, store.Space{Quota: 7, Floor: 8, TTL: 9 * time.Second}, false},
		"negative": {&managerv1.Disk{Quota: n(-1)}, store.Space{}, true},
	} {
		got, err := spaceOver(file, tt.set)
		if (err != nil) != tt.bad || err == nil && got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
}
