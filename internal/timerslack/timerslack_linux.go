// Package timerslack has the timers of a process fire a little late, so that it is woken
// less often (timer slack, prctl(2)).
package timerslack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Set lets all timers of this process fire up to d late. Threads inherit it from the one
// that makes them; those that end meanwhile do not matter. It needs CAP_SYS_NICE; errors
// do no harm.
func Set(d time.Duration) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	for _, t := range threads { // that of a thread is found by its own number alone
		err := os.WriteFile(filepath.Join("/proc", t.Name(), "timerslack_ns"), strconv.AppendInt(nil, d.Nanoseconds(), 10), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("set the timer slack: %w", err)
		}
	}
	return nil
}
