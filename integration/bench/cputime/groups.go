package cputime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// groupPrefix begins the name of every cgroup; the pid of the program that made it follows.
const groupPrefix = "darter-bench-"

// Groups are groups of processes by their names.
type Groups struct{ byName map[string]group }

// NewGroups makes empty groups, after it removed those of dead programs. The caller
// closes them when all processes in them have ended.
func NewGroups(names ...string) (_ *Groups, err error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	a, err := findAccounting(string(mounts))
	if err != nil {
		return nil, err
	}
	a.removeDead()
	g := &Groups{map[string]group{}}
	for _, name := range names {
		one, err := a.newGroup(fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), name))
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.byName[name] = one
	}
	return g, nil
}

// Add moves a process, all its threads, into a group. What it starts later is there, too.
func (g *Groups) Add(name string, pid int) error {
	one, ok := g.byName[name]
	if !ok {
		return fmt.Errorf("cgroup: no group %s", name)
	}
	return one.add(pid)
}

// Close removes the groups.
func (g *Groups) Close() error {
	var errs []error
	for _, one := range g.byName {
		errs = append(errs, one.remove())
	}
	return errors.Join(errs...)
}

// removeDead removes groups whose program was killed before it could.
func (a accounting) removeDead() {
	dirs, _ := filepath.Glob(filepath.Join(a.root, groupPrefix+"*")) // the pattern is good
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			os.Remove(dir)
		}
	}
}

// Usage is a reading of all counters of CPU time.
type Usage struct {
	Groups  map[string]time.Duration
	Machine Machine
}

// Read reads all groups and the machine.
func (g *Groups) Read() (u Usage, err error) {
	u.Groups = map[string]time.Duration{}
	for name, one := range g.byName {
		if u.Groups[name], err = one.used(); err != nil {
			return Usage{}, err
		}
	}
	u.Machine, err = ReadMachine()
	return u, err
}

// Since is what was used from an earlier reading to this one.
func (u Usage) Since(earlier Usage) Usage {
	d := Usage{Groups: map[string]time.Duration{}, Machine: u.Machine.Since(earlier.Machine)}
	for name, used := range u.Groups {
		d.Groups[name] = used - earlier.Groups[name]
	}
	return d
}

// Ours is the time of all groups.
func (u Usage) Ours() time.Duration {
	var sum time.Duration
	for _, used := range u.Groups {
		sum += used
	}
	return sum
}

// Others is the share of the machine, 0 to 1, that was busy outside of the groups:
// with other people's work, and with the kernel's work that belongs to no process.
func (u Usage) Others() float64 {
	if u.Machine.Total <= 0 {
		return 0
	}
	return max(0, float64(u.Machine.Busy-u.Ours())/float64(u.Machine.Total))
}
