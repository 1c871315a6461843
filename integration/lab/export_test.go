package lab

import (
	"os"
	"path/filepath"
	"syscall"
)

// LeftoversOf lists the remains of the run with the given id.
func LeftoversOf(id string) []string { return leftovers(id, filepath.Join("/var/tmp", id)) }

// KillWatcher kills the process that would remove the run.
func (l *Lab) KillWatcher() { _ = l.run.watcher.Process.Signal(syscall.SIGKILL) }

// RunDir is the run's folder.
func (l *Lab) RunDir() string { return l.run.dir }

// Exists reports whether the path is there.
func Exists(path string) bool { _, err := os.Lstat(path); return err == nil }
