package rpc

import (
	"fmt"
	"net"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/scheduler/swarm"
)

// Bounds of what a node may say. A message beyond them ends its stream.
const (
	maxMessageBytes = 4 << 20
	maxHoldings     = 1000
	maxLost         = 256
	maxOriginBytes  = 4096
	maxPlaceBytes   = 128  // zone, rack, version
	maxAddressBytes = 261  // a name of 255 bytes, a colon and a port
	maxReasonBytes  = 1024 // of an error; longer ones are cut
)

// hostOf reads a Hello that came from the given address.
func hostOf(m *schedulerv1.Hello, from string) (p2p.Host, error) {
	h := p2p.Host{ID: p2p.HostID(m.GetHostId()), Zone: m.GetZone(), Rack: m.GetRack(), Seed: m.GetSeed()}
	if err := h.ID.Validate(); err != nil {
		return p2p.Host{}, fmt.Errorf("hello: %w", err)
	}
	for _, s := range []string{h.Zone, h.Rack, m.GetVersion()} {
		if err := checkText(s, maxPlaceBytes); err != nil {
			return p2p.Host{}, fmt.Errorf("hello: zone, rack or version: %w", err)
		}
	}
	var err error
	if h.Addr, err = addressOf(m.GetAddress(), from); err != nil {
		return p2p.Host{}, fmt.Errorf("hello: %w", err)
	}
	return h, nil
}

// addressOf completes host:port by the host that the stream came from.
func addressOf(addr, from string) (string, error) {
	if err := checkText(addr, maxAddressBytes); err != nil {
		return "", fmt.Errorf("address: %w", err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("address %q: want host:port: %w", addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("address %q: port %q is not within 1 to 65535", addr, port)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(from); err != nil {
			return "", fmt.Errorf("address %q has no host and the stream's own is not known", addr)
		}
	}
	return net.JoinHostPort(host, port), nil
}

// eventOf reads one message of a host after Hello, except Heartbeat.
func eventOf(host p2p.HostID, r *schedulerv1.ConnectRequest) (swarm.Event, error) {
	switch m := r.GetMessage().(type) {
	case *schedulerv1.ConnectRequest_Announce:
		return announceOf(host, m.Announce)
	case *schedulerv1.ConnectRequest_Join:
		task, err := taskOf(m.Join)
		if err == nil {
			err = checkSource(m.Join.GetOrigin(), m.Join.GetSize())
		}
		return swarm.Join{Task: task, Host: host, Origin: p2p.Origin(m.Join.GetOrigin()), Size: m.Join.GetSize()}, named("join", err)
	case *schedulerv1.ConnectRequest_Leave:
		task, err := taskOf(m.Leave)
		return swarm.Leave{Task: task, Host: host}, named("leave", err)
	case *schedulerv1.ConnectRequest_Done:
		task, err := taskOf(m.Done)
		return swarm.Done{Task: task, Host: host}, named("done", err)
	case *schedulerv1.ConnectRequest_NeighbourLost:
		return lostOf(host, m.NeighbourLost)
	case *schedulerv1.ConnectRequest_PullStarted:
		task, err := taskOf(m.PullStarted)
		if err == nil {
			err = checkSource("", m.PullStarted.GetSize())
		}
		return swarm.PullStarted{Task: task, Host: host, Size: m.PullStarted.GetSize()}, named("pull started", err)
	case *schedulerv1.ConnectRequest_PullFailed:
		task, err := taskOf(m.PullFailed)
		if err != nil {
			return nil, named("pull failed", err)
		}
		why, err := originErrorOf(m.PullFailed.GetError())
		return swarm.PullFailed{Task: task, Host: host, Error: why}, named("pull failed", err)
	case *schedulerv1.ConnectRequest_PullDone:
		task, err := taskOf(m.PullDone)
		return swarm.PullDone{Task: task, Host: host}, named("pull done", err)
	case *schedulerv1.ConnectRequest_BadPeer:
		task, err := taskOf(m.BadPeer)
		bad := p2p.HostID(m.BadPeer.GetHost())
		if err == nil {
			err = bad.Validate()
		}
		return swarm.BadPeer{Task: task, Host: bad, Reporter: host}, named("bad peer", err)
	}
	return reliefEventOf(host, r)
}

// reliefEventOf reads what a host says of reading pieces beside the puller.
func reliefEventOf(host p2p.HostID, r *schedulerv1.ConnectRequest) (swarm.Event, error) {
	switch m := r.GetMessage().(type) {
	case *schedulerv1.ConnectRequest_Starved:
		task, err := taskOf(m.Starved)
		if err == nil && m.Starved.GetFirst() >= p2p.MaxPieces {
			err = fmt.Errorf("piece %d", m.Starved.GetFirst())
		}
		return swarm.Starved{
			Task: task, Host: host, First: p2p.Piece(m.Starved.GetFirst()), Urgent: m.Starved.GetUrgent(), Slow: m.Starved.GetSlow(),
		}, named("starved", err)
	case *schedulerv1.ConnectRequest_Relieved:
		task, err := taskOf(m.Relieved)
		return swarm.Relieved{
			Task: task, Host: host, Pieces: int(min(m.Relieved.GetPieces(), p2p.MaxPieces)), Alone: m.Relieved.GetAlone(),
		}, named("relieved", err)
	}
	return nil, fmt.Errorf("a message of type %T is not expected here", r.GetMessage())
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func taskOf(m interface{ GetTask() string }) (p2p.TaskID, error) { return p2p.ParseTaskID(m.GetTask()) }

func announceOf(host p2p.HostID, m *schedulerv1.Announce) (swarm.Event, error) {
	if len(m.GetHoldings()) > maxHoldings {
		return nil, fmt.Errorf("announce: %d holdings, at most %d in a part", len(m.GetHoldings()), maxHoldings)
	}
	ev := swarm.Announce{Host: host, Holdings: make([]p2p.Holding, len(m.GetHoldings())), Last: m.GetLast()}
	for i, h := range m.GetHoldings() {
		task, err := taskOf(h)
		if err == nil {
			err = checkSource(h.GetOrigin(), h.GetSize())
		}
		if err != nil {
			return nil, fmt.Errorf("announce: holding %d: %w", i, err)
		}
		ev.Holdings[i] = p2p.Holding{
			Task: task, Size: h.GetSize(), Complete: h.GetComplete(), Active: h.GetActive(),
			Pulling: h.GetPulling(), Origin: p2p.Origin(h.GetOrigin()),
		}
	}
	return ev, nil
}

func lostOf(host p2p.HostID, m *schedulerv1.NeighbourLost) (swarm.Event, error) {
	task, err := taskOf(m)
	if err != nil {
		return nil, fmt.Errorf("neighbour lost: %w", err)
	}
	if len(m.GetHosts()) > maxLost {
		return nil, fmt.Errorf("neighbour lost: %d hosts, at most %d", len(m.GetHosts()), maxLost)
	}
	ev := swarm.NeighbourLost{Task: task, Host: host, Lost: make([]p2p.HostID, len(m.GetHosts()))}
	for i, id := range m.GetHosts() {
		ev.Lost[i] = p2p.HostID(id)
		if err := ev.Lost[i].Validate(); err != nil {
			return nil, fmt.Errorf("neighbour lost: %w", err)
		}
	}
	return ev, nil
}

func originErrorOf(m *schedulerv1.OriginError) (p2p.OriginError, error) {
	if m.GetStatus() < 0 || m.GetStatus() > 999 {
		return p2p.OriginError{}, fmt.Errorf("status %d", m.GetStatus())
	}
	if s := m.GetRetryAfterSeconds(); s < 0 || s > 1<<31 {
		return p2p.OriginError{}, fmt.Errorf("retry after %d seconds", s)
	}
	return p2p.OriginError{
		Status:     int(m.GetStatus()),
		Message:    cutText(m.GetMessage(), maxReasonBytes),
		RetryAfter: time.Duration(m.GetRetryAfterSeconds()) * time.Second,
		Wrong:      m.GetWrong(),
		Keyless:    m.GetKeyless(),
		Origin:     p2p.Origin(cutText(m.GetOrigin(), maxOriginBytes)),
	}, nil
}

// checkSource checks an origin and a size in bytes, -1 = not known.
func checkSource(origin string, size int64) error {
	if err := checkText(origin, maxOriginBytes); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if size < -1 || size > p2p.MaxSize {
		return fmt.Errorf("size %d is not within -1 to %d", size, int64(p2p.MaxSize))
	}
	return nil
}

// checkText checks that s is short and has no control characters: it may come into logs.
func checkText(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%d bytes, at most %d", len(s), most)
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return fmt.Errorf("%q has the character %U", s, r)
		}
	}
	return nil
}

// cutText returns at most n bytes of s without control characters.
func cutText(s string, n int) string {
	clean := make([]byte, 0, min(len(s), n))
	for _, r := range s {
		if unicode.IsControl(r) {
			r = ' '
		}
		if len(clean)+utf8.RuneLen(r) > n {
			break
		}
		clean = utf8.AppendRune(clean, r)
	}
	return string(clean)
}
