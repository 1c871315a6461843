package main

import (
	"testing"

	managerv1 "github.com/darter-p2p/darter/api/manager/v1"
	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/p2p/limit"
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
