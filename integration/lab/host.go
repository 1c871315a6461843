package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hostDevice is the name of a host's one interface, inside its namespace.
const hostDevice = "eth0"

// Host is a network namespace with one address and one link to the lab's bridge.
type Host struct {
	Name string
	Addr netip.Addr
	// Dir is the host's folder for sockets and configuration; short, in memory.
	Dir string
	// Data is the host's folder for everything large.
	Data string

	lab  *Lab
	ns   string
	port string // the bridge's end of the link
}

// AddHost adds a host. Its name is letters and digits, at most 11.
func (l *Lab) AddHost(ctx context.Context, name string, link Link) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == "" || name == "bridge" || len(name) > 11 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return nil, fmt.Errorf("lab: host name %q: want 1 to 11 of a-z and 0-9, and not bridge", name)
	}
	if slices.ContainsFunc(l.hosts, func(h *Host) bool { return h.Name == name }) {
		return nil, fmt.Errorf("lab: there is a host %s already", name)
	}
	h := &Host{
		Name: name, Addr: l.next, lab: l, ns: l.run.netns(name), port: "to-" + name,
		Dir: filepath.Join(l.run.dir, name), Data: filepath.Join(l.run.data, name),
	}
	for _, dir := range []string{h.Dir, h.Data} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("lab: host %s: %w", name, err)
		}
	}
	mtu := strconv.Itoa(l.opts.MTU)
	address := netip.PrefixFrom(h.Addr, subnet.Bits()).String()
	steps := [][]string{
		{"ip", "netns", "add", h.ns},
		// Nothing but what programs send may count: no address discovery of IPv6.
		{"nsenter", "--net=" + h.nsPath(), "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"},
		{"ip", "-n", h.ns, "link", "set", "lo", "up"},
		{"ip", "-n", h.ns, "link", "add", "name", hostDevice, "mtu", mtu, "type", "veth", "peer", "name", h.port, "mtu", mtu, "netns", l.ns},
		{"ip", "-n", h.ns, "address", "add", address, "dev", hostDevice},
		{"ip", "-n", l.ns, "link", "set", h.port, "master", bridgeName, "up"},
		{"ip", "-n", h.ns, "link", "set", hostDevice, "up"},
	}
	for _, step := range steps {
		if err := output(ctx, step...); err != nil {
			return nil, fmt.Errorf("lab: host %s: %w", name, err)
		}
	}
	if err := h.Shape(ctx, link); err != nil {
		return nil, err
	}
	l.next = l.next.Next()
	l.hosts = append(l.hosts, h)
	return h, nil
}

func (h *Host) nsPath() string { return "/run/netns/" + h.ns }

// HostPort returns the host's address with a port.
func (h *Host) HostPort(port int) string {
	return netip.AddrPortFrom(h.Addr, uint16(port)).String()
}

// Command returns a command that will run on the host. It keeps the machine's
// mounts: nsenter, and not `ip netns exec`, which hides the mounts of cgroups.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + h.nsPath(), "--"}, argv...)...)
	cmd.Env = append(os.Environ(), markEnv+"="+h.lab.run.id)
	return cmd
}

// shownOutput is how much of a failed command's output its error has, in bytes.
const shownOutput = 2000

// Output runs a command on the host to its end and returns what it wrote to its
// standard output; the error of a command that failed contains the end of all that
// it printed.
func (h *Host) Output(ctx context.Context, argv ...string) (string, error) {
	cmd := h.Command(ctx, argv...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		said := out.String() + complaints.String()
		return out.String(), fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(argv, " "), err,
			strings.TrimSpace(said[max(0, len(said)-shownOutput):]))
	}
	return out.String(), nil
}

// DialContext dials from the host. The address must be a numeric one.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from %s: a name cannot be looked up there: %w", h.Name, err)
	}
	var conn net.Conn
	err := inNamespace(h.nsPath(), func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the host. Connections are the host's.
func (h *Host) Listen(port int) (net.Listener, error) {
	var listener net.Listener
	err := inNamespace(h.nsPath(), func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	return listener, err
}

// Transport returns an HTTP transport whose connections begin on the host. The
// caller closes its idle connections.
func (h *Host) Transport() *http.Transport {
	return &http.Transport{DialContext: h.DialContext}
}

// TxBytes returns the bytes that the host's interface has sent since it exists.
func (h *Host) TxBytes() (int64, error) { return h.counter("tx", 8) }

// RxBytes returns the bytes that the host's interface has received since it exists.
func (h *Host) RxBytes() (int64, error) { return h.counter("rx", 0) }

// counter reads a column of /proc/net/dev behind the interface's name.
func (h *Host) counter(what string, column int) (int64, error) {
	var table []byte
	err := inNamespace(h.nsPath(), func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lab: %s bytes of %s: %w", what, h.Name, err)
	}
	for line := range strings.Lines(string(table)) {
		if numbers, ok := strings.CutPrefix(strings.TrimSpace(line), hostDevice+":"); ok {
			if fields := strings.Fields(numbers); len(fields) > column {
				return strconv.ParseInt(fields[column], 10, 64)
			}
		}
	}
	return 0, errors.New("lab: host " + h.Name + " has no interface " + hostDevice)
}
