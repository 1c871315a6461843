package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// groupPrefix begins the name of every cgroup of this program; its pid follows.
const groupPrefix = "darter-bench-"

// groups are the cgroups of one run.
type groups struct {
	darter, registry, relay, clients, curl group
}

// newGroups makes the groups of a run. The caller closes them when all processes have ended.
func newGroups() (g groups, err error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return groups{}, err
	}
	a, err := findAccounting(string(mounts))
	if err != nil {
		return groups{}, err
	}
	a.removeDead()
	for name, into := range g.byName() {
		var bad error
		*into, bad = a.newGroup(fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), name))
		err = errors.Join(err, bad)
	}
	return g, err
}

func (g *groups) byName() map[string]*group {
	return map[string]*group{"darter": &g.darter, "registry": &g.registry, "relay": &g.relay, "clients": &g.clients, "curl": &g.curl}
}

// close removes the groups.
func (g *groups) close() error {
	var errs []error
	for _, one := range g.byName() {
		if one.dir != "" {
			errs = append(errs, one.remove())
		}
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

// usage is a reading of all counters of CPU time.
type usage struct {
	darter, registry, relay, clients, curl time.Duration

	machine machineTime
}

func (g *groups) read() (u usage, err error) {
	for _, one := range []struct {
		group group
		into  *time.Duration
	}{{g.darter, &u.darter}, {g.registry, &u.registry}, {g.relay, &u.relay}, {g.clients, &u.clients}, {g.curl, &u.curl}} {
		if *one.into, err = one.group.used(); err != nil {
			return usage{}, err
		}
	}
	u.machine, err = readMachineTime()
	return u, err
}

// since is what was used from an earlier reading to this one.
func (u usage) since(e usage) usage {
	return usage{
		darter: u.darter - e.darter, registry: u.registry - e.registry, relay: u.relay - e.relay,
		clients: u.clients - e.clients, curl: u.curl - e.curl, machine: u.machine.since(e.machine),
	}
}

// ours is the time of all groups.
func (u usage) ours() time.Duration { return u.darter + u.registry + u.relay + u.clients + u.curl }

// others is the share of the machine, 0 to 1, that was busy outside of the groups:
// with other people's work, and with the kernel's work that belongs to no process.
func (u usage) others() float64 {
	if u.machine.total <= 0 {
		return 0
	}
	return max(0, float64(u.machine.busy-u.ours())/float64(u.machine.total))
}
