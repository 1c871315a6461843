package tracker

import (
	"errors"
	"fmt"
	"io"
	"time"

	schedulerv1 "github.com/darter-p2p/darter/api/scheduler/v1"
	"github.com/darter-p2p/darter/p2p"
)

// receive passes what the scheduler says to the handler until the stream ends.
func (s *scheduler) receive(l *link) error {
	for {
		m, err := l.conn.Recv()
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return err
		}
		if err := deliver(m, fromOne{s}); err != nil {
			return fmt.Errorf("message of the scheduler: %w", err)
		}
	}
}

// deliver checks one message and passes it to a handler. A kind that is not known
// is of a newer scheduler and is ignored.
func deliver(r *schedulerv1.ConnectResponse, h Handler) error {
	switch m := r.GetMessage().(type) {
	case *schedulerv1.ConnectResponse_Neighbours:
		return deliverNeighbours(m.Neighbours, h)
	case *schedulerv1.ConnectResponse_Pull:
		task, err := p2p.ParseTaskID(m.Pull.GetTask())
		if err == nil {
			err = checkSize(m.Pull.GetSize())
		}
		if err != nil {
			return fmt.Errorf("pull: %w", err)
		}
		s := m.Pull.GetStripe()
		stripe := p2p.Stripe{Run: s.GetRun(), Of: int(s.GetOf()), Mine: s.GetMine(), Helper: s.GetHelper()}
		if err := stripe.Validate(); err != nil {
			return fmt.Errorf("pull: %w", err)
		}
		h.Pull(Pull{
			Task: task, Origin: p2p.Origin(m.Pull.GetOrigin()), Size: m.Pull.GetSize(),
			Token: m.Pull.GetToken(), Stop: m.Pull.GetStop(), Stripe: stripe,
		})
	case *schedulerv1.ConnectResponse_Relief:
		return deliverRelief(m.Relief, h)
	case *schedulerv1.ConnectResponse_TaskGeometry:
		task, err := p2p.ParseTaskID(m.TaskGeometry.GetTask())
		if err == nil {
			err = checkSize(m.TaskGeometry.GetSize())
		}
		if err != nil {
			return fmt.Errorf("task geometry: %w", err)
		}
		if size := m.TaskGeometry.GetSize(); size >= 0 {
			h.TaskGeometry(task, size)
		}
	case *schedulerv1.ConnectResponse_TaskFailed:
		task, err := p2p.ParseTaskID(m.TaskFailed.GetTask())
		if err != nil {
			return fmt.Errorf("task failed: %w", err)
		}
		h.TaskFailed(task, originErrorOf(m.TaskFailed.GetError()))
	}
	return nil
}

func deliverNeighbours(m *schedulerv1.Neighbours, h Handler) error {
	task, err := p2p.ParseTaskID(m.GetTask())
	if err != nil {
		return fmt.Errorf("neighbours: %w", err)
	}
	var add []p2p.Host
	for _, p := range m.GetAdd() {
		host := p2p.Host{ID: p2p.HostID(p.GetHostId()), Addr: p.GetAddress(), Zone: p.GetZone(), Rack: p.GetRack(), Seed: p.GetSeed()}
		if err := host.ID.Validate(); err != nil {
			return fmt.Errorf("neighbours: %w", err)
		}
		add = append(add, host)
	}
	var remove []p2p.HostID
	for _, s := range m.GetRemove() {
		id := p2p.HostID(s)
		if err := id.Validate(); err != nil {
			return fmt.Errorf("neighbours: %w", err)
		}
		remove = append(remove, id)
	}
	h.Neighbours(task, add, remove)
	return nil
}

func deliverRelief(m *schedulerv1.Relief, h Handler) error {
	task, err := p2p.ParseTaskID(m.GetTask())
	if err == nil {
		err = checkSize(m.GetSize())
	}
	if first, count := m.GetFirst(), m.GetCount(); err == nil && (first >= p2p.MaxPieces || count == 0 || count > p2p.MaxPieces) {
		err = fmt.Errorf("%d pieces from %d", count, first)
	}
	if err != nil {
		return fmt.Errorf("relief: %w", err)
	}
	h.Relief(Relief{
		Task: task, Origin: p2p.Origin(m.GetOrigin()), Size: m.GetSize(), Token: m.GetToken(),
		First: p2p.Piece(m.GetFirst()), Count: p2p.Piece(m.GetCount()), Beside: m.GetBeside(),
	})
	return nil
}

func checkSize(size int64) error {
	if size < -1 || size > p2p.MaxSize {
		return fmt.Errorf("size %d is not within -1 to %d", size, int64(p2p.MaxSize))
	}
	return nil
}

// maxRetryAfter bounds the seconds that fit a time.Duration with room to spare.
const maxRetryAfter = 1 << 31

func originErrorOf(m *schedulerv1.OriginError) p2p.OriginError {
	return p2p.OriginError{
		Status:     int(m.GetStatus()),
		Message:    m.GetMessage(),
		RetryAfter: time.Duration(min(max(m.GetRetryAfterSeconds(), 0), maxRetryAfter)) * time.Second,
		Puller:     p2p.HostID(m.GetPuller()),
		Wrong:      m.GetWrong(),
		Keyless:    m.GetKeyless(),
		Origin:     p2p.Origin(m.GetOrigin()),
	}
}
