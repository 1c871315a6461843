// Package preheat does a node's part of the manager's jobs: it resolves images, brings
// contents into this node's store before anybody asks for them, pins them, says what is
// held, and deletes. It serves api/node/v1 to managers of the cluster and to nobody else.
//
// A content counts as brought when the store holds every piece verified and the digest of
// the whole matched; whatever else happens is a failure, in the words of who refused.
package preheat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	nodev1 "github.com/darter-p2p/darter/api/node/v1"
	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/p2p"
	"github.com/darter-p2p/darter/p2p/node"
	"github.com/darter-p2p/darter/p2p/store"
)

// Fetcher is what a Server needs of the node's fetcher; *fetcher.Local is one.
type Fetcher interface {
	fetcher.Fetcher
	Keep(ctx context.Context, c fetcher.Content) (*fetcher.Body, p2p.TaskID, error)
	KeepURL(ctx context.Context, u fetcher.URL) (*fetcher.Body, p2p.TaskID, error)
}

// Swarm is what a Server needs of the node; *node.Node is one.
type Swarm interface {
	Task(id p2p.TaskID) (node.Snapshot, bool)
	Past(id p2p.TaskID) (node.Stats, p2p.Origin, bool)
	Deleted(id p2p.TaskID)
}

// Store is what a Server needs of the store of pieces; *store.Disk is one.
type Store interface {
	List() []store.Info
	Delete(id p2p.TaskID) error
	Pin(id p2p.TaskID, reason string, until time.Time) error
	Usage() store.Usage
}

// Bounds of requests.
const (
	maxContents    = 4096
	maxConcurrency = 32
	defaultAtOnce  = 3
	maxPin         = 400 * 24 * time.Hour
	pinPrefix      = "preheat:"
)

var jobPattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// Server is a node's NodeService.
type Server struct {
	nodev1.UnimplementedNodeServiceServer
	fetcher Fetcher
	swarm   Swarm
	store   Store
	every   time.Duration // between two words on the same content
	settle  time.Duration // how long the digest of the whole may take after the last byte
}

// New returns a Server over the parts of a node.
func New(f Fetcher, s Swarm, st Store) *Server {
	return &Server{fetcher: f, swarm: s, store: st, every: time.Second, settle: time.Minute}
}

// header is what a job's credential is asked with.
func header(authorization string) http.Header {
	h := http.Header{}
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	return h
}

// asStatus gives an error to the wire: its class, and its words.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	code := status.Code(errgrpc.ToGRPC(class(err)))
	return status.Error(code, err.Error())
}

// failure gives an error of one content to the wire.
func failure(err error) *nodev1.Failure {
	if err == nil {
		return nil
	}
	s := status.Convert(asStatus(err))
	return &nodev1.Failure{Code: int32(s.Code()), Message: s.Message()} //nolint:gosec // codes are below 17
}

// class is the class of an error, with what an origin said taken for its own.
func class(err error) error {
	var said *source.Error
	if errors.As(err, &said) && said.Status == http.StatusTooManyRequests {
		return errdefs.ErrResourceExhausted
	}
	var origin p2p.OriginError
	if errors.As(err, &origin) {
		switch origin.Status {
		case http.StatusUnauthorized:
			return errdefs.ErrUnauthenticated
		case http.StatusForbidden:
			return errdefs.ErrPermissionDenied
		case http.StatusNotFound:
			return errdefs.ErrNotFound
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	for _, c := range []error{
		errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied, errdefs.ErrNotFound, errdefs.ErrInvalidArgument,
		errdefs.ErrFailedPrecondition, errdefs.ErrDataLoss, errdefs.ErrResourceExhausted, errdefs.ErrOutOfRange, errdefs.ErrUnavailable,
	} {
		if errors.Is(err, c) {
			return c
		}
	}
	return err
}

func invalid(format string, args ...any) error {
	return asStatus(fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...))
}
