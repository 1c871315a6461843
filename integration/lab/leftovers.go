package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Leftovers lists in words what the machine still has of this run: processes,
// mounts, loop devices, namespaces, cgroups, folders. After Close it must be empty.
func (l *Lab) Leftovers() []string { return leftovers(l.run.id, append(l.run.outside, l.run.data)...) }

// leftovers looks for a run's remains in another way than sweep.sh does, for it
// is what proves that script. More folders may be given.
func leftovers(id string, folders ...string) []string {
	var left []string
	for _, path := range append(folders, filepath.Join(runParent, id)) {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, "folder "+path)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/" + id, "/sys/fs/cgroup/*/" + id} {
		groups, _ := filepath.Glob(pattern) // the pattern is good
		for _, group := range groups {
			left = append(left, "cgroup "+group)
		}
	}
	namespaces, _ := filepath.Glob("/run/netns/" + id + "*")
	for _, ns := range namespaces {
		left = append(left, "namespace "+ns)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		// The namespaces themselves are mounts below /run/netns; they are listed above.
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(fields[4], "/"+id) && !slices.Contains(namespaces, fields[4]) {
			left = append(left, "mount "+fields[4])
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, loop := range loops {
		if file, err := os.ReadFile(loop); err == nil && strings.Contains(string(file), id) {
			left = append(left, "loop device "+loop)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		cmdline, _ := os.ReadFile(process + "/cmdline")
		environ, _ := os.ReadFile(process + "/environ")
		if bytes.Contains(cmdline, []byte(id)) || bytes.Contains(environ, []byte(markEnv+"="+id)) {
			left = append(left, process+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return left
}
