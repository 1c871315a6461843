// Package memory reads how much memory processes have used.
package memory

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Peak is the most memory that a process has had resident, in bytes.
func Peak(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parsePeak(string(status))
}

// parsePeak reads VmHWM of /proc/<pid>/status.
func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process status: no VmHWM")
}
