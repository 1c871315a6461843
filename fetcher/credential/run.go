package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// maxOutput bounds what a program may print, in bytes.
const maxOutput = 256 << 10

// program is a credential helper or provider to run.
type program struct {
	path    string
	args    []string
	env     []string
	stdin   []byte
	timeout time.Duration
}

// run runs a program and returns what it printed on standard output, also where it
// failed. Its whole process group is killed when it takes too long, prints too much or
// ctx ends. Errors hold nothing that it printed; standard error is thrown away, for it
// may hold what no log should. They are of class ErrUnavailable, or ctx's own.
func run(ctx context.Context, p program) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	out := &boundedBuffer{full: cancel}
	cmd := exec.CommandContext(limited, p.path, p.args...)
	cmd.Env, cmd.Stdin, cmd.Stdout = p.env, bytes.NewReader(p.stdin), out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for a child that keeps standard output open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.overflowed:
		err = fmt.Errorf("printed more than %d bytes", maxOutput)
	case limited.Err() != nil:
		err = fmt.Errorf("no answer within %v", p.timeout)
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // all that was printed is there
		return out.held, nil
	}
	return out.held, fmt.Errorf("run %s: %w: %w", p.path, err, errdefs.ErrUnavailable)
}

// boundedBuffer keeps what a program prints until it is too much. It is no
// io.ReaderFrom, which would go around the bound.
type boundedBuffer struct {
	held       []byte
	overflowed bool
	full       func()
}

var errFull = errors.New("too much output")

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.held)+len(p) > maxOutput {
		b.overflowed = true
		b.full()
		return 0, errFull
	}
	b.held = append(b.held, p...)
	return len(p), nil
}

// safeName reports whether a program's name from a file is one, and no path.
func safeName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
