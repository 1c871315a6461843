// Package profile samples the whole machine with perf while a benchmark runs.
package profile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Start lets perf sample the whole machine, into a file for `perf report`, until stop
// is called. It makes the file's folder.
func Start(path string) (stop func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("perf", "record", "--all-cpus", "--freq", "199", "-g", "--quiet", "--output", path)
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
