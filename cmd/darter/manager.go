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
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
)

// Where the manager is and who asks, where no flag says so. Without them it is what darter
// login kept.
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
	// as puts the caller's credential on a request; nil = the token that was found.
	as func(*http.Request)
}

// managerFlags are the flags of every command that asks a manager.
func (m *managerClient) flags(c *cobra.Command) {
	m.http = &http.Client{Timeout: time.Minute}
	c.PersistentFlags().StringVar(&m.url, "manager", "", "the manager's URL, such as https://manager.example:8080 (or "+managerVariable+"; else that of darter login)")
}

// caller is the manager that is asked and the token that it is shown, "" = none.
type caller struct {
	url, token string
	expired    bool // the token of darter login has expired
}

// caller finds both. The token of darter login is shown to the manager that it is of only.
func (m *managerClient) caller() (caller, error) {
	kept, err := readCredentials()
	if err != nil {
		return caller{}, err
	}
	who := caller{url: m.url, token: os.Getenv(tokenVariable)}
	if who.url == "" {
		who.url = os.Getenv(managerVariable)
	}
	if who.url == "" {
		who.url = kept.Manager
	}
	if who.url == "" {
		return who, fmt.Errorf("no manager: run darter login URL, or give its URL by --manager or %s: %w", managerVariable, errdefs.ErrInvalidArgument)
	}
	if u, err := url.Parse(who.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return who, fmt.Errorf("manager %q: want a URL such as https://manager.example:8080: %w", who.url, errdefs.ErrInvalidArgument)
	}
	who.url = strings.TrimRight(who.url, "/")
	if who.token == "" && sameManager(who.url, kept.Manager) {
		who.token = kept.Token
		who.expired = !kept.ExpiresAt.IsZero() && !time.Now().Before(kept.ExpiresAt)
	}
	return who, nil
}

// ask makes a request and reads the answer into out, nil = not read. A refusal is an error in the
// manager's words.
func (m *managerClient) ask(ctx context.Context, method, path string, body, out any) error {
	_, err := m.do(ctx, method, path, body, out)
	return err
}

// do is ask, with the answer's cookies.
func (m *managerClient) do(ctx context.Context, method, path string, body, out any) ([]*http.Cookie, error) {
	who, err := m.caller()
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, who.url+"/api/v1"+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	switch {
	case m.as != nil:
		m.as(r)
	case who.token != "":
		r.Header.Set("Authorization", "Bearer "+who.token)
	}
	resp, err := m.http.Do(r)
	if err != nil {
		return nil, &failure{process.ExitUnavailable, fmt.Errorf("the manager does not answer: %w", err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxManagerAnswer))
	if err != nil {
		return nil, &failure{process.ExitUnavailable, fmt.Errorf("the manager's answer broke off: %w", err)}
	}
	if resp.StatusCode >= 300 {
		return nil, who.refusal(resp, answer)
	}
	if out == nil {
		return resp.Cookies(), nil
	}
	if err := decodeNumbers(answer, out); err != nil {
		return nil, fmt.Errorf("the manager's answer is no answer of a darter-manager: %w", err)
	}
	return resp.Cookies(), nil
}

// refusal is what the manager says, with the exit code of its status.
func (who caller) refusal(resp *http.Response, answer []byte) error {
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
		what := "not signed in at " + who.url
		switch {
		case who.expired:
			what = "the sign-in at " + who.url + " has expired"
		case who.token != "":
			what = who.url + " does not take the token"
		}
		return &failure{exitUnauthorized, fmt.Errorf("%s (%w): run darter login %s, or give a personal access token in %s", what, err, who.url, tokenVariable)}
	case http.StatusForbidden:
		return &failure{exitUnauthorized, fmt.Errorf("forbidden: %w", err)}
	}
	return &failure{process.ExitFailure, err}
}

// Bounds of lists: entries of a page, and how many pages are read.
const (
	pageSize = 1000
	maxPages = 1000
)

// listAll returns all entries of a list.
func listAll[T any](ctx context.Context, m *managerClient, path string, query url.Values) ([]T, error) {
	q := url.Values{"per_page": {strconv.Itoa(pageSize)}}
	for name, values := range query {
		q[name] = values
	}
	var all []T
	for page := 1; page <= maxPages; page++ {
		q.Set("page", strconv.Itoa(page))
		var answer struct {
			Items []T `json:"items"`
		}
		if err := m.ask(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &answer); err != nil {
			return nil, err
		}
		all = append(all, answer.Items...)
		if len(answer.Items) < pageSize {
			break
		}
	}
	return all, nil
}
