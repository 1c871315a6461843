package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
)

// Where the manager is and who asks, where no flag says so.
const (
	managerVariable = "DARTER_MANAGER"
	tokenVariable   = "DARTER_TOKEN"
)

// maxManagerAnswer bounds what is read of an answer.
const maxManagerAnswer = 64 << 20

// managerClient asks a manager's REST.
type managerClient struct {
	url  string
	http *http.Client
}

// managerFlags are the flags of every command that asks a manager.
func (m *managerClient) flags(c *cobra.Command) {
	m.http = &http.Client{Timeout: time.Minute}
	c.PersistentFlags().StringVar(&m.url, "manager", "", "the manager's URL, such as https://manager.example:8080 (or "+managerVariable+")")
}

// ask makes a request and reads the answer into out, nil = not read. A refusal is an error in the
// manager's words.
func (m *managerClient) ask(ctx context.Context, method, path string, body, out any) error {
	at := m.url
	if at == "" {
		at = os.Getenv(managerVariable)
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("no manager: give its URL by --manager or %s: %w", managerVariable, errdefs.ErrInvalidArgument)
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(at, "/")+"/api/v1"+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token := os.Getenv(tokenVariable); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := m.http.Do(r)
	if err != nil {
		return &failure{process.ExitUnavailable, fmt.Errorf("the manager does not answer: %w", err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxManagerAnswer))
	if err != nil {
		return &failure{process.ExitUnavailable, fmt.Errorf("the manager's answer broke off: %w", err)}
	}
	if resp.StatusCode >= 300 {
		return refusalOf(resp, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the manager's answer is no answer of a darter-manager: %w", err)
	}
	return nil
}

// refusalOf is what the manager says, with the exit code of its status.
func refusalOf(resp *http.Response, answer []byte) error {
	var problem struct{ Title, Detail string }
	_ = json.Unmarshal(answer, &problem) // another server has other words
	words := problem.Detail
	if words == "" {
		words = resp.Status
	}
	err := errors.New(printable(words))
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return &failure{process.ExitUsage, err}
	case http.StatusNotFound:
		return &failure{process.ExitNotFound, err}
	case http.StatusUnauthorized:
		return &failure{exitUnauthorized, fmt.Errorf("%w; give a personal access token in %s", err, tokenVariable)}
	case http.StatusForbidden:
		return &failure{exitUnauthorized, err}
	}
	return &failure{process.ExitFailure, err}
}
