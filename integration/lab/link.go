package lab

import (
	"context"
	"fmt"
	"time"
)

// Link is the speed of a host's link, each way on its own.
type Link struct {
	Up   Rate // what the host sends
	Down Rate // what the host receives
}

// Both is a link with the same speed both ways.
func Both(r Rate) Link { return Link{Up: r, Down: r} }

const (
	// minBurst is the smallest bucket. The kernel hands packets of up to 64 KiB
	// to a veth (GSO); a bucket smaller than one would make the shaper cut it up.
	minBurst = 256 << 10
	// burstTime is how much the bucket holds beyond that.
	burstTime = 2 * time.Millisecond
	// queueTime is how long a packet waits before it is dropped: the buffer of a switch.
	queueTime = 50 * time.Millisecond
	minQueue  = 1 << 20
)

// Shape sets the speed of the host's link, also while it is in use. A token
// bucket at each end shapes what leaves it: the host's end its sending, the
// bridge's end its receiving.
func (h *Host) Shape(ctx context.Context, link Link) error {
	if err := shape(ctx, h.ns, hostDevice, link.Up); err != nil {
		return fmt.Errorf("lab: shape what %s sends: %w", h.Name, err)
	}
	if err := shape(ctx, h.lab.ns, h.port, link.Down); err != nil {
		return fmt.Errorf("lab: shape what %s receives: %w", h.Name, err)
	}
	return nil
}

func shape(ctx context.Context, ns, device string, r Rate) error {
	if r == 0 {
		// What is there before the first shaping is noqueue, which replaces anything.
		return output(ctx, "tc", "-n", ns, "qdisc", "replace", "dev", device, "root", "noqueue")
	}
	burst := minBurst + r.Bytes(burstTime)
	limit := max(minQueue, r.Bytes(queueTime)) + burst
	return output(ctx, "tc", "-n", ns, "qdisc", "replace", "dev", device, "root", "handle", "1:",
		"tbf", "rate", fmt.Sprintf("%dbit", r), "burst", fmt.Sprint(burst), "limit", fmt.Sprint(limit))
}

// Cut makes the network drop all that the host sends and receives. Its interface
// stays up and its connections open: they are silent.
func (h *Host) Cut(ctx context.Context) error { return h.portState(ctx, "0") }

// Heal ends a Cut.
func (h *Host) Heal(ctx context.Context) error { return h.portState(ctx, "3") }

// portState sets the state of the host's port on the bridge: 0 disabled, 3 forwarding.
func (h *Host) portState(ctx context.Context, state string) error {
	return output(ctx, "bridge", "-n", h.lab.ns, "link", "set", "dev", h.port, "state", state)
}
