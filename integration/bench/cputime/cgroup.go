package cputime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// accounting is a hierarchy of cgroups that adds up CPU time: version 1's cpuacct
// where it is mounted, else version 2.
type accounting struct {
	root string // of the hierarchy
	v2   bool
}

// findAccounting looks at the text of /proc/mounts.
func findAccounting(mounts string) (accounting, error) {
	var v2 string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		switch {
		case fields[2] == "cgroup" && strings.Contains(","+fields[3]+",", ",cpuacct,"):
			return accounting{root: fields[1]}, nil
		case fields[2] == "cgroup2" && v2 == "":
			v2 = fields[1]
		}
	}
	if v2 == "" {
		return accounting{}, errors.New("no cgroup hierarchy that counts CPU time is mounted")
	}
	return accounting{root: v2, v2: true}, nil
}

// group is processes that are counted together, their children with them.
type group struct {
	dir string
	v2  bool
}

// newGroup makes an empty group. The caller removes it when its processes have ended.
func (a accounting) newGroup(name string) (group, error) {
	g := group{dir: filepath.Join(a.root, name), v2: a.v2}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return group{}, fmt.Errorf("cgroup: %w", err)
	}
	return g, nil
}

// add moves a process, all its threads, into the group.
func (g group) add(pid int) error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("cgroup: add process %d: %w", pid, err)
	}
	return nil
}

// used is the CPU time of the group since it was made.
func (g group) used() (time.Duration, error) {
	file, parse := "cpuacct.usage", parseUsage
	if g.v2 {
		file, parse = "cpu.stat", parseCPUStat
	}
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, fmt.Errorf("cgroup: %w", err)
	}
	return parse(text)
}

// remove removes the group; its processes must have ended.
func (g group) remove() error { return os.Remove(g.dir) }

// parseUsage reads version 1's cpuacct.usage: nanoseconds.
func parseUsage(text []byte) (time.Duration, error) {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cpuacct.usage: %w", err)
	}
	return time.Duration(n), nil
}

// parseCPUStat reads version 2's cpu.stat: lines of a name and microseconds.
func parseCPUStat(text []byte) (time.Duration, error) {
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, errors.New("cpu.stat: no usage_usec")
}
