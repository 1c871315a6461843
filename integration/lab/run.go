package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// runPrefix begins the name of all that a run owns: its folders
	// /run/<id> and <data>/<id>, and its namespaces <id>.<host>.
	runPrefix = "darter-lab-"
	// runParent holds the runs' folders. Short, for the paths of unix sockets are limited.
	runParent = "/run"
	// markEnv is set to the run's id in the environment of every process of the run.
	markEnv = "DARTER_LAB"
	// lockFile is locked for as long as the run, or the one who removes it, lives.
	lockFile = "lock"
	// dataFile names the run's folder for data.
	dataFile = "data"
	// rmdirFile lists folders outside of the run that go with it if they are empty.
	rmdirFile = "rmdir"
)

// sweepScript removes one run. It is the only way a run is removed: Close, the
// watching process and the next run's New use it.
//
//go:embed sweep.sh
var sweepScript string

// run owns the names of one lab, and a process that removes all of it when this one is gone.
type run struct {
	id   string
	dir  string // /run/<id>
	data string

	outside []string // folders that removeIfNew found to be absent

	once    sync.Once
	watcher *exec.Cmd
	alive   io.Closer // the watcher sweeps when it closes
	err     error
}

// newRun makes the folders of a new run and starts its watcher.
func newRun(dataParent string) (*run, error) {
	// The folder gets its name only when it is locked, so that no other run
	// takes it for the remains of a dead one.
	made, err := os.MkdirTemp(runParent, fmt.Sprintf(".%s%d-", runPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	id := strings.TrimPrefix(filepath.Base(made), ".")
	r := &run{id: id, dir: filepath.Join(runParent, id), data: filepath.Join(dataParent, id)}
	lock, err := lockRun(made)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(made))
	}
	defer lock.Close() // the watcher has its own copy
	err = errors.Join(
		os.Chmod(made, 0o755),
		os.WriteFile(filepath.Join(made, dataFile), []byte(r.data+"\n"), 0o644),
		os.MkdirAll(r.data, 0o755),
		os.Rename(made, r.dir),
	)
	if err == nil {
		r.watcher, r.alive, err = startSweep(r.dir, lock)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(made), os.RemoveAll(r.dir), os.RemoveAll(r.data))
	}
	return r, nil
}

// netns is the name of the namespace of one host of the run.
func (r *run) netns(host string) string { return r.id + "." + host }

// removeIfNew names folders that a program will make at fixed places, whatever
// its flags. Those that are not there yet are removed with the run if they are
// empty then. Inner folders come first.
func (r *run) removeIfNew(folders ...string) error {
	for _, folder := range folders {
		if _, err := os.Lstat(folder); errors.Is(err, os.ErrNotExist) {
			r.outside = append(r.outside, folder)
		}
	}
	list := strings.Join(r.outside, "\n") + "\n"
	return os.WriteFile(filepath.Join(r.dir, rmdirFile), []byte(list), 0o644)
}

// remove lets the watcher remove the run and waits for it.
func (r *run) remove() error {
	r.once.Do(func() { r.err = finishSweep(r.watcher, r.alive) })
	return r.err
}

// startSweep starts the script that removes a run once the returned Closer is
// closed, or this process has ended. It is in a session of its own, so that a
// Ctrl-C at the terminal does not reach it, and holds the run's lock.
func startSweep(dir string, lock *os.File) (*exec.Cmd, io.Closer, error) {
	cmd := exec.Command("bash", "-c", sweepScript, "sweep.sh", dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin:/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{lock}
	report, err := os.OpenFile(filepath.Join(dir, "sweep.log"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, nil, err
	}
	defer report.Close()
	cmd.Stdout, cmd.Stderr = report, report
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, alive, cmd.Start()
}

// finishSweep tells the script to begin and waits for its end.
func finishSweep(cmd *exec.Cmd, alive io.Closer) error {
	_ = alive.Close() // cannot fail for a pipe; the wait below tells how it went
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("lab: sweep: %w; what is left: %s", err, strings.Join(leftovers(filepath.Base(cmd.Args[len(cmd.Args)-1])), ", "))
	}
	return nil
}

// sweepDead removes the runs whose process and watcher are both gone.
func sweepDead(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(runParent, runPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		lock, err := lockRun(dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue // it lives, or was just removed
		}
		if err != nil {
			return err
		}
		cmd, alive, err := startSweep(dir, lock)
		_ = lock.Close() // the script has it
		if err != nil {
			return err
		}
		if err := finishSweep(cmd, alive); err != nil {
			return err
		}
	}
	return nil
}

// lockRun takes the lock of a run's folder; EWOULDBLOCK if someone holds it.
func lockRun(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: f.Name(), Err: err}, f.Close())
	}
	return f, nil
}
