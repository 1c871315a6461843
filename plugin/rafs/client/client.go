package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
)

// Paths of the mount server.
const (
	// MountsPath answers GET with a list of Mount. PUT of MountsPath/<id> with a Request
	// mounts, DELETE unmounts; both answer 204.
	MountsPath = "/v1/mounts"
	// StatusPath answers GET with a Status.
	StatusPath = "/v1/status"
)

// Config says where the mount server is.
type Config struct {
	Socket string `toml:"socket" doc:"Path of the Unix socket of darter-rafs, which mounts Nydus (RAFS v6) images. Empty mounts none: Nydus images are refused, or pulled as ordinary ones."`
}

// Default is darter-rafs as its unit runs it.
func Default() Config { return Config{Socket: "/run/darter/rafs.sock"} }

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	if c.Socket != "" && !filepath.IsAbs(c.Socket) {
		return fmt.Errorf("socket: %q, want an absolute path", c.Socket)
	}
	return nil
}

// Client asks one mount server. Its methods may be called concurrently. Errors are
// classes of containerd/errdefs; ErrUnavailable is a server that does not answer.
type Client struct{ http *http.Client }

// New returns a client of the server at a Unix socket. It connects when it is used.
func New(socket string) *Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:    4,
		IdleConnTimeout: 30 * time.Second,
	}}}
}

// Close closes idle connections. The mounts stay.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Mount mounts an image. It is idempotent: a mount of the same request that is alive is
// left as it is, and one that died is made again. Another request with the same ID is
// ErrAlreadyExists; a bootstrap that cannot be read ErrInvalidArgument, one that needs
// what the loader does not know ErrNotImplemented; a machine that cannot mount
// ErrFailedPrecondition; no room in the cache ErrResourceExhausted.
func (c *Client) Mount(ctx context.Context, r Request) error {
	if err := r.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPut, MountsPath+"/"+url.PathEscape(r.ID), body, nil)
}

// Unmount ends a mount. One that is not there is no error. It is for when no container
// uses the mount any more: what is still open below it may get errors.
func (c *Client) Unmount(ctx context.Context, id string) error {
	if !ValidID(id) {
		return fmt.Errorf("unmount %q: %w", id, errdefs.ErrInvalidArgument)
	}
	return c.do(ctx, http.MethodDelete, MountsPath+"/"+url.PathEscape(id), nil, nil)
}

// List returns the live mounts, by ID.
func (c *Client) List(ctx context.Context) ([]Mount, error) {
	var all []Mount
	return all, c.do(ctx, http.MethodGet, MountsPath, nil, &all)
}

// Status returns the state of the server, and how it mounts.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, http.MethodGet, StatusPath, nil, &s)
}

// Refusal is the body of every answer of the server that is not 2xx.
type Refusal struct {
	Message string `json:"message"`
}

// do sends a request and decodes a JSON answer into to, unless it is nil.
func (c *Client) do(ctx context.Context, method, path string, body []byte, to any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://rafs"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("mount server: %w: %w", err, errdefs.ErrUnavailable)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("mount server: %w: %w", err, errdefs.ErrUnavailable)
	}
	if resp.StatusCode/100 != 2 {
		var r Refusal
		if json.Unmarshal(said, &r) != nil || r.Message == "" {
			r.Message = resp.Status
		}
		return fmt.Errorf("mount server: %w", &refusal{r.Message, classOf(resp.StatusCode)})
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(said, to); err != nil {
		return fmt.Errorf("mount server: %w: %w", err, errdefs.ErrInternal)
	}
	return nil
}

// refusal is what the server said, with its class.
type refusal struct {
	message string
	class   error
}

func (r *refusal) Error() string { return r.message }
func (r *refusal) Unwrap() error { return r.class }

// classes are the wire's statuses of error classes, the first that fits.
var classes = []struct {
	status int
	class  error
}{
	{http.StatusBadRequest, errdefs.ErrInvalidArgument},
	{http.StatusNotFound, errdefs.ErrNotFound},
	{http.StatusConflict, errdefs.ErrAlreadyExists},
	{http.StatusPreconditionFailed, errdefs.ErrFailedPrecondition},
	{http.StatusInsufficientStorage, errdefs.ErrResourceExhausted},
	{http.StatusNotImplemented, errdefs.ErrNotImplemented},
	{http.StatusUnprocessableEntity, errdefs.ErrDataLoss},
	{http.StatusServiceUnavailable, errdefs.ErrUnavailable},
}

// StatusOf returns the status with which the server answers an error.
func StatusOf(err error) int {
	for _, c := range classes {
		if errors.Is(err, c.class) {
			return c.status
		}
	}
	return http.StatusInternalServerError
}

// classOf returns the error class of a status.
func classOf(status int) error {
	for _, c := range classes {
		if c.status == status {
			return c.class
		}
	}
	return errdefs.ErrInternal
}
