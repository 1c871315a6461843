package cputime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/stat: USER_HZ, 100 on every Linux.
const tick = time.Second / 100

// Machine is the machine's CPU time since it started, all cores together. Stolen, what
// the hypervisor took, is part of Busy.
type Machine struct{ Busy, Stolen, Total time.Duration }

// parseMachine reads the first line of /proc/stat. Waiting for disks is idle; what
// the hypervisor took is busy, for nobody here could have it.
func parseMachine(stat string) (Machine, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	// user nice system idle iowait irq softirq steal; guest time is in user already
	if len(fields) < 9 || fields[0] != "cpu" {
		return Machine{}, fmt.Errorf("/proc/stat: unknown line %q", line)
	}
	var t Machine
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("/proc/stat: %w", err)
		}
		t.Total += time.Duration(n) * tick
		if i != 3 && i != 4 {
			t.Busy += time.Duration(n) * tick
		}
		if i == 7 {
			t.Stolen = time.Duration(n) * tick
		}
	}
	return t, nil
}

// ReadMachine reads the machine's time.
func ReadMachine() (Machine, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return parseMachine(string(stat))
}

// Since is the time that passed from an earlier reading to this one.
func (t Machine) Since(earlier Machine) Machine {
	return Machine{t.Busy - earlier.Busy, t.Stolen - earlier.Stolen, t.Total - earlier.Total}
}

// Share is the busy part, 0 to 1.
func (t Machine) Share() float64 { return t.part(t.Busy) }

// Steal is the part that the hypervisor took, 0 to 1.
func (t Machine) Steal() float64 { return t.part(t.Stolen) }

func (t Machine) part(d time.Duration) float64 {
	if t.Total <= 0 {
		return 0
	}
	return float64(d) / float64(t.Total)
}
