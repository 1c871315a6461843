package rpc

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/darter-p2p/darter/scheduler/swarm"
)

// metrics counts what passes and shows what the core holds.
type metrics struct {
	messages      *prometheus.CounterVec // by direction and type
	streams       *prometheus.CounterVec // that ended, by code
	refused       prometheus.Counter
	tokenFailures prometheus.Counter
	blocked       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	const ns, sub = "darter", "scheduler"
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "messages_total", Help: "Messages from (in) and to (out) nodes, by type.",
		}, []string{"direction", "type"}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "streams_ended_total", Help: "Streams of nodes that ended, by gRPC code.",
		}, []string{"code"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "streams_refused_total", Help: "Streams refused before they were a node's.",
		}),
		tokenFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "token_failures_total", Help: "Tokens of acting seeds that could not be signed.",
		}),
	}
	m.blocked = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "blocked_total", Help: "Joins that the manager's block lists refused.",
	})
	all := []prometheus.Collector{m.messages, m.streams, m.refused, m.tokenFailures, m.blocked}
	for _, g := range []struct {
		name, help string
		value      func(swarm.Stats) int
	}{
		{"hosts", "Nodes that are up, seeds included.", func(s swarm.Stats) int { return s.Hosts }},
		{"seeds", "Seeds that are up.", func(s swarm.Stats) int { return s.Seeds }},
		{"tasks", "Tasks that a node holds or wants.", func(s swarm.Stats) int { return s.Tasks }},
		{"peers", "Pairs of a task and a node that holds or wants it.", func(s swarm.Stats) int { return s.Peers }},
		{"pulls", "Tasks that a node reads from an origin for the others.", func(s swarm.Stats) int { return s.Pulls }},
	} {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: g.name, Help: g.help,
		}, func() float64 { return float64(g.value(s.Stats())) }))
	}
	all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "neighbour_decisions_total", Help: "Pairs of nodes that were made neighbours in a task.",
	}, func() float64 { return float64(s.Stats().Decisions) }))
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) received(r proto.Message) { m.messages.WithLabelValues("in", kind(r)).Inc() }
func (m *metrics) sent(r proto.Message)     { m.messages.WithLabelValues("out", kind(r)).Inc() }
func (m *metrics) ended(why error)          { m.streams.WithLabelValues(status.Code(why).String()).Inc() }

// kind returns the name of the message in a request or response.
func kind(r proto.Message) string {
	p := r.ProtoReflect()
	oneof := p.Descriptor().Oneofs().ByName("message")
	field := p.WhichOneof(oneof)
	if field == nil {
		return "none"
	}
	return string(field.Name())
}
