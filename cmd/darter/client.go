package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

const (
	// answerTimeout bounds one question to darterd.
	answerTimeout = 30 * time.Second
	// maxAnswer is the longest answer that is read, in bytes.
	maxAnswer = 256 << 20
)

// query is the flags of a command that asks darterd.
type query struct {
	socket string
	format string
}

func (q *query) flags(c *cobra.Command) {
	c.Flags().StringVar(&q.socket, "socket", darterdv1.DefaultSocket, "darterd's socket")
	c.Flags().StringVar(&q.format, "format", "table", "table, for people, or json, for programs")
}

// run asks for path and writes the answer: as darterd gave it with --format json,
// else by table, which is given the decoded answer.
func run[T any](c *cobra.Command, q query, path string, params url.Values, table func(io.Writer, T)) error {
	if q.format != "table" && q.format != "json" {
		return fmt.Errorf("--format %q: want table or json: %w", q.format, errdefs.ErrInvalidArgument)
	}
	body, err := ask(c.Context(), q.socket, path, params)
	if err != nil {
		return err
	}
	if q.format == "json" {
		_, err := c.OutOrStdout().Write(append(body, '\n'))
		return err
	}
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("darterd's answer: %w", err)
	}
	table(c.OutOrStdout(), v)
	return nil
}

// ask returns the body of darterd's answer, compact JSON. Errors: ErrUnavailable when
// nobody answers, ErrPermissionDenied, ErrNotFound and ErrInvalidArgument as darterd
// says.
func ask(ctx context.Context, socket, path string, params url.Values) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	u := url.URL{Scheme: "http", Host: "darterd", Path: path, RawQuery: params.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask darterd: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, unreachable(socket, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, unreachable(socket, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, body)
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("ask darterd: what answers on %s does not speak JSON; is it darterd?", socket)
	}
	return body, nil
}

// unreachable says why darterd did not answer and what to do.
func unreachable(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("darterd is not running: there is no socket %s; start it (systemctl start darterd) or name another with --socket: %w", socket, errdefs.ErrUnavailable)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("darterd is not running: nobody listens on %s; look at journalctl -u darterd: %w", socket, errdefs.ErrUnavailable)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s; try as root: %w", socket, errdefs.ErrPermissionDenied)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	}
	return fmt.Errorf("darterd does not answer on %s: %w: %w", socket, err, errdefs.ErrUnavailable)
}

// refusal turns an answer that is not 200 into an error of its class.
func refusal(code int, body []byte) error {
	var said darterdv1.Error
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		said.Message = fmt.Sprintf("darterd answers %d %s", code, http.StatusText(code))
	}
	said.Message = printable(said.Message)
	switch code {
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w", said.Message, errdefs.ErrNotFound)
	case http.StatusBadRequest:
		return fmt.Errorf("%s: %w", said.Message, errdefs.ErrInvalidArgument)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("%s: %w", said.Message, errdefs.ErrUnavailable)
	}
	return errors.New(said.Message)
}
