package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database"
)

// RootPassword is root's in every manager that Start starts.
const RootPassword = "correct horse battery staple"

// startWithin bounds a start; it matters only where something is wrong.
const startWithin = 2 * time.Minute

// Options say how a manager is set up.
type Options struct {
	Program  string // path of darter-manager
	Dir      string // of its configuration, log and data
	Identity pki.Files
	Database database.Config
	Extra    string // TOML behind all else
	Log      string // log_level; "" = info
}

// Process is a darter-manager on loopback. It dies with this process. Its methods may be
// called concurrently, but for those that start and end it.
type Process struct {
	URL     string // of its REST API, without the path
	Members string // host:port of its gRPC
	LogPath string

	program, config string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended; then exit is set
	exit  error
}

// Start configures and starts a manager on free ports, and returns when it is healthy.
func Start(ctx context.Context, o Options) (*Process, error) {
	web, err := freeAddress()
	if err != nil {
		return nil, err
	}
	members, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &Process{
		URL: "http://" + web, Members: members, program: o.Program,
		LogPath: filepath.Join(o.Dir, "manager.log"), config: filepath.Join(o.Dir, "manager.toml"),
	}
	if o.Log == "" {
		o.Log = "info"
	}
	text := fmt.Sprintf("listen = %q\nmembers = %q\nlog_level = %q\ndata = %q\n", web, members, o.Log, o.Dir)
	if o.Identity.CA != "" {
		text += fmt.Sprintf("[identity]\nca = %q\ncert = %q\nkey = %q\n", o.Identity.CA, o.Identity.Cert, o.Identity.Key)
	}
	text += fmt.Sprintf("[database]\nkind = %q\npath = %q\ndsn = %q\nconnections = %d\n",
		o.Database.Kind, o.Database.Path, o.Database.DSN, o.Database.Connections)
	if err := os.WriteFile(p.config, []byte(text+o.Extra), 0o600); err != nil {
		return nil, fmt.Errorf("configure the manager: %w", err)
	}
	return p, p.Restart(ctx)
}

// freeAddress returns an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Restart kills the process if it lives, and starts it again with the same configuration.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.End(syscall.SIGKILL); err != nil {
		return err
	}
	log, err := os.OpenFile(p.LogPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(p.program, "--config", p.config) //nolint:gosec,noctx // it lives until End
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "DARTER_ROOT_PASSWORD="+RootPassword)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is for the end of the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		p.mu.Lock()
		p.exit = err
		p.mu.Unlock()
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	p.mu.Lock()
	p.cmd, p.ended = cmd, ended
	p.mu.Unlock()
	return p.healthy(ctx)
}

// healthy waits until the manager says that it is ready.
func (p *Process) healthy(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("the manager is not healthy after %v", startWithin))
	defer stop()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/healthy", nil)
		if err != nil {
			return err
		}
		if answer, err := transport.RoundTrip(r); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the manager ended: %w: %s", p.exit, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), p.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Pid returns the process's identity, 0 where none was started.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// End sends a signal to the process if it lives, and waits for its end.
func (p *Process) End(signal os.Signal) error {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the manager: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(startWithin):
		return fmt.Errorf("the manager, process %s, does not end within %v", strconv.Itoa(cmd.Process.Pid), startWithin)
	}
}

// tail is the end of the log.
func (p *Process) tail() string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4<<10):])
}
