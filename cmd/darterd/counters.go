package main

import (
	"sync/atomic"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
)

// counters count what the node does, for metrics and for darter status.
type counters struct {
	fromPeers, fromSeed, fromOrigin, sent atomic.Int64

	received *prometheus.CounterVec
	uploaded prometheus.Counter
	trouble  *prometheus.CounterVec
	tasks    prometheus.Counter
	tokens   prometheus.Counter
}

func newCounters(r prometheus.Registerer) (*counters, error) {
	c := &counters{
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_received_bytes_total", Help: "Verified bytes of pieces by where they came from: peer, seed or origin.",
		}, []string{"from"}),
		uploaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_uploaded_bytes_total", Help: "Bytes of pieces sent to other hosts.",
		}),
		trouble: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "darter_trouble_total", Help: "What went wrong: banned, revoked, pull_failed, origin_retry, unreachable, lost, task_failed.",
		}, []string{"what"}),
		tasks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_tasks_completed_total", Help: "Tasks that this host came to hold whole.",
		}),
		tokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "darter_tokens_given_total", Help: "Short-lived tokens of this node's readers that went to a seed which reads their content.",
		}),
	}
	for _, m := range []prometheus.Collector{c.received, c.uploaded, c.trouble, c.tasks, c.tokens} {
		if err := r.Register(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// events counts and logs what the node tells.
func (c *counters) events(l *log.Entry) node.Events {
	trouble := func(what string) { c.trouble.WithLabelValues(what).Inc() }
	peer, seed, origin := c.received.WithLabelValues("peer"), c.received.WithLabelValues("seed"), c.received.WithLabelValues("origin")
	return node.Events{
		Received: func(from p2p.HostID, isSeed bool, bytes int64) {
			switch {
			case from == "":
				c.fromOrigin.Add(bytes)
				origin.Add(float64(bytes))
			case isSeed:
				c.fromSeed.Add(bytes)
				seed.Add(float64(bytes))
			default:
				c.fromPeers.Add(bytes)
				peer.Add(float64(bytes))
			}
		},
		TokenGiven: func(t p2p.TaskID, to p2p.HostID) {
			c.tokens.Inc()
			l.WithFields(log.Fields{"task": t, "seed": to}).Debug("a reader's token went to the seed that reads his content")
		},
		Sent: func(_ p2p.HostID, bytes int64) {
			c.sent.Add(bytes)
			c.uploaded.Add(float64(bytes))
		},
		TaskDone: func(t p2p.TaskID, size int64) {
			c.tasks.Inc()
			l.WithFields(log.Fields{"task": t, "size": size}).Info("task is complete")
		},
		TaskFailed: func(t p2p.TaskID, err error) {
			trouble("task_failed")
			l.WithField("task", t).WithError(err).Warn("task is in trouble")
		},
		Banned: func(t p2p.TaskID, h p2p.HostID, reason string) {
			trouble("banned")
			l.WithFields(log.Fields{"task": t, "peer": h, "reason": reason}).Warn("peer is banned")
		},
		Revoked: func(t p2p.TaskID, o p2p.Origin, reason string) {
			trouble("revoked")
			l.WithFields(log.Fields{"task": t, "origin": o, "reason": reason}).Error("content is revoked")
		},
		PullFailed: func(t p2p.TaskID, o p2p.Origin, err error) {
			trouble("pull_failed")
			l.WithFields(log.Fields{"task": t, "origin": o}).WithError(err).Warn("origin did not give the content")
		},
		OriginRetry: func(t p2p.TaskID, o p2p.Origin, err error) {
			trouble("origin_retry")
			l.WithFields(log.Fields{"task": t, "origin": o}).WithError(err).Info("origin is asked again")
		},
		HostUnreachable: func(h p2p.Host, err error) {
			trouble("unreachable")
			l.WithFields(log.Fields{"peer": h.ID, "addr": h.Addr}).WithError(err).Info("peer is not reached")
		},
		HostLost: func(h p2p.HostID, err error) {
			trouble("lost")
			l.WithField("peer", h).WithError(err).Info("link to peer is lost")
		},
	}
}
