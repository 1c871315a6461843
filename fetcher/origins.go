package fetcher

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/internal/block"
	"github.com/darter-p2p/darter/p2p"
)

// Origins reads origins for the piece network, as a seed does: without a credential, or
// with a reader's. It is a node.Origins.
type Origins struct{ Source source.Source }

// Open reads length bytes of a content from off, -1 = to its end. The authorization is
// a reader's, "" = none.
func (o Origins) Open(ctx context.Context, origin p2p.Origin, authorization p2p.Secret, off, length int64) (io.ReadCloser, int64, error) {
	r := source.Request{Origin: origin, Offset: off, Length: length}
	if authorization != "" {
		r.Header = http.Header{"Authorization": {string(authorization)}}
	}
	resp, err := o.Source.Open(ctx, r)
	if err != nil {
		return nil, 0, originError(err)
	}
	return resp.Body, resp.Size, nil
}

// originError puts what an origin refused into the words that hosts tell each other.
func originError(err error) error {
	var blocked *block.Error
	if errors.As(err, &blocked) {
		return p2p.OriginError{Status: http.StatusForbidden, Message: blocked.Error()}
	}
	var said *source.Error
	if !errors.As(err, &said) {
		return err
	}
	return p2p.OriginError{Status: said.Status, Message: said.Error(), RetryAfter: said.RetryAfter}
}
