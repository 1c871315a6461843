package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// Options say what a lab looks like. The zero value is a good lab.
type Options struct {
	MTU     int    // of every link, in bytes; 0 = 9000
	DataDir string // the run's data goes into a new folder below; "" = /var/tmp
}

const (
	defaultMTU = 9000
	bridgeName = "br0"
)

// subnet is where hosts get their addresses, in the order they are added.
// It exists only inside the namespaces, so that labs do not disturb each other.
var subnet = netip.MustParsePrefix("10.77.0.0/16")

// Lab is a private network with hosts on it. Its methods may be called concurrently.
type Lab struct {
	opts Options
	run  *run
	ns   string // of the bridge

	mu    sync.Mutex
	hosts []*Host
	next  netip.Addr
	procs []*Process
}

// Unavailable says in words why this machine cannot run a lab; "" if it can.
func Unavailable() string {
	if os.Geteuid() != 0 {
		return "a lab needs root: it makes network namespaces"
	}
	for _, tool := range []string{"ip", "tc", "bridge", "nsenter", "bash", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("a lab needs %s (Debian: iproute2, util-linux, bash): %v", tool, err)
		}
	}
	if out, err := exec.Command("unshare", "--net", "true").CombinedOutput(); err != nil {
		return fmt.Sprintf("this machine lets us make no network namespace: %s", strings.TrimSpace(string(out)))
	}
	return ""
}

// New makes a lab without hosts, after it removed what dead runs left behind.
// The caller closes it. ctx bounds the call only: when it ends later, the lab stays.
func New(ctx context.Context, o Options) (_ *Lab, err error) {
	if reason := Unavailable(); reason != "" {
		return nil, errors.New(reason)
	}
	if o.MTU == 0 {
		o.MTU = defaultMTU
	}
	if o.DataDir == "" {
		o.DataDir = "/var/tmp"
	}
	if err := sweepDead(ctx); err != nil {
		return nil, fmt.Errorf("lab: remove the remains of dead runs: %w", err)
	}
	r, err := newRun(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("lab: new run: %w", err)
	}
	l := &Lab{opts: o, run: r, ns: r.netns("bridge"), next: subnet.Addr().Next()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	steps := [][]string{
		{"ip", "netns", "add", l.ns},
		{"ip", "-n", l.ns, "link", "add", "name", bridgeName, "type", "bridge", "forward_delay", "0", "stp_state", "0"},
		{"ip", "-n", l.ns, "link", "set", bridgeName, "mtu", fmt.Sprint(o.MTU), "up"},
	}
	for _, step := range steps {
		if err := output(ctx, step...); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// ID is the run's name; everything the run owns carries it.
func (l *Lab) ID() string { return l.run.id }

// DataDir is the run's folder for data. It goes with the lab.
func (l *Lab) DataDir() string { return l.run.data }

// Hosts returns the hosts in the order they were added.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// Close kills all programs and removes all that the run owns. It may be called
// more than once. A program that shall end in peace is stopped before.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs := slices.Clone(l.procs)
	l.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	return l.run.remove()
}

// Logs returns the end of every program's log, for the report of a failure.
func (l *Lab) Logs(lines int) string {
	l.mu.Lock()
	procs := slices.Clone(l.procs)
	l.mu.Unlock()
	var b strings.Builder
	for _, p := range procs {
		fmt.Fprintf(&b, "---- %s on %s: %s\n%s\n", p.program.Name, p.host.Name, p.State(), p.LogTail(lines))
	}
	return b.String()
}

// output runs a short command to its end and puts what it printed into the error.
func output(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
