package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// profilePath is where PROFILE=1 leaves a profile for `perf report`.
const profilePath = "out/bench-swarm.perf"

// startProfile lets perf sample the whole machine until stop is called.
func startProfile() (stop func() error, err error) {
	if err := os.MkdirAll("out", 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("perf", "record", "--all-cpus", "--freq", "199", "-g", "--quiet", "--output", profilePath)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	time.Sleep(time.Second) // perf does not say when it began
	return func() error {
		err := cmd.Process.Signal(syscall.SIGINT)
		var ended *exec.ExitError
		if wait := cmd.Wait(); wait != nil && !errors.As(wait, &ended) { // perf ends by the signal
			err = errors.Join(err, wait)
		}
		return err
	}, nil
}
