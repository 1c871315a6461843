package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program is what to run on a host, and how to see that it is ready.
type Program struct {
	Name string   // of the log file; unique on its host
	Argv []string // the program's path first
	Env  []string // beside the environment of this process
	// Ready reports nil once the program does its work; it is asked again and
	// again. Nil = ready when started.
	Ready func(context.Context) error
	// Within bounds the time until it is ready; 0 = 60 s, for test machines are busy.
	Within time.Duration
}

const (
	defaultWithin = 60 * time.Second
	// readyPause is how often a program is asked whether it is ready.
	readyPause = 25 * time.Millisecond
)

// Process is a program on a host that can be killed and started again. Its
// methods may be called concurrently.
type Process struct {
	LogPath string

	host    *Host
	program Program

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
	err  error         // how cmd ended; read after done
}

// Start runs a program on the host and waits until it is ready. It runs until it
// is stopped or the lab is closed; ctx bounds only the wait. When the program does
// not get ready it is killed, and the error shows the end of its log.
func (h *Host) Start(ctx context.Context, program Program) (*Process, error) {
	p := &Process{host: h, program: program, LogPath: filepath.Join(h.Data, program.Name+".log")}
	h.lab.mu.Lock()
	h.lab.procs = append(h.lab.procs, p)
	h.lab.mu.Unlock()
	return p, p.start(ctx)
}

// Restart kills the process if it lives and starts its program again.
func (p *Process) Restart(ctx context.Context) error {
	p.Kill()
	return p.start(ctx)
}

func (p *Process) start(ctx context.Context) error {
	done, err := p.launch()
	if err != nil {
		return fmt.Errorf("start %s on %s: %w", p.program.Name, p.host.Name, err)
	}
	if p.program.Ready == nil {
		return nil
	}
	within := p.program.Within
	if within == 0 {
		within = defaultWithin
	}
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := poll(waiting, done, p.program.Ready); err != nil {
		p.Kill()
		return fmt.Errorf("start %s on %s: not ready: %w\n%s", p.program.Name, p.host.Name, err, p.LogTail(30))
	}
	return nil
}

func (p *Process) launch() (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own copy
	cmd := p.host.Command(context.Background(), p.program.Argv...)
	cmd.Env = append(cmd.Env, p.program.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	return done, nil
}

// poll asks until it gets nil, the context ends or the process does.
func poll(ctx context.Context, ended <-chan struct{}, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(readyPause):
		}
	}
}

// Pid returns the process's id, 0 if it does not live.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return 0
	}
	return p.cmd.Process.Pid // nsenter replaces itself by the program
}

// alive needs the lock.
func (p *Process) alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the process that runs now has ended.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// State says in words how the process is.
func (p *Process) State() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.cmd == nil:
		return "not started"
	case p.alive():
		return fmt.Sprintf("runs as process %d", p.cmd.Process.Pid)
	case p.err != nil:
		return "ended: " + p.err.Error()
	}
	return "ended"
}

// Kill ends the process and its group at once, as kill -9 does, and waits for its end.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

// Stop asks the process to end, and kills it and its group when it did not within grace.
func (p *Process) Stop(grace time.Duration) {
	done := p.Done()
	if done == nil {
		return
	}
	if pid := p.Pid(); pid != 0 && syscall.Kill(pid, syscall.SIGTERM) == nil {
		select {
		case <-done:
		case <-time.After(grace):
		}
	}
	p.Kill()
}

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	if !p.alive() {
		p.mu.Unlock()
		return
	}
	// The group has the process's number, and the number is not given to others
	// before the process was waited for.
	_ = syscall.Kill(-p.cmd.Process.Pid, s)
	done := p.done
	p.mu.Unlock()
	<-done
}

// longestLine is how much of one line LogTail shows, in bytes.
const longestLine = 400

// LogTail returns the last lines of the program's log, long ones cut.
func (p *Process) LogTail(lines int) string {
	all, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	kept := bytes.Split(bytes.TrimRight(all, "\n"), []byte("\n"))
	if len(kept) > lines {
		kept = kept[len(kept)-lines:]
	}
	for i, line := range kept {
		kept[i] = line[:min(len(line), longestLine)]
	}
	return strings.ToValidUTF8(string(bytes.Join(kept, []byte("\n"))), "?")
}
