package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client asks a manager's REST API with a personal access token of root. Its methods may
// be called concurrently.
type Client struct {
	Token string

	url  string
	http *http.Client
}

// Refused is a request that the manager answered with an error.
type Refused struct {
	Status int
	Detail string // the problem document
}

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("the manager refused: %d %s", r.Status, r.Detail)
}

// SignIn makes a token of root at the manager below a URL. The caller closes the
// transport's idle connections.
func SignIn(ctx context.Context, url string, transport *http.Transport) (*Client, error) {
	c := &Client{url: url, http: &http.Client{Transport: transport, Timeout: time.Minute}}
	credentials := map[string]string{"name": "root", "password": RootPassword}
	answer, err := c.send(ctx, http.MethodPost, "/session", credentials, nil)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, answer.Body) // the cookies are all
	answer.Body.Close()
	var made struct {
		Secret string `json:"secret"`
	}
	token := map[string]any{"name": fmt.Sprintf("t%d", time.Now().UnixNano()), "scopes": []string{"*"}, "expires_in_seconds": 86400}
	if answer, err = c.send(ctx, http.MethodPost, "/tokens", token, answer.Cookies()); err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	c.Token = made.Secret
	return c, nil
}

// Ask makes a request below /api/v1; body may be nil, and so may into, which the answer
// is decoded into. A refusal is a *Refused.
func (c *Client) Ask(ctx context.Context, method, path string, body, into any) error {
	answer, err := c.send(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, answer.Body)
	} else {
		err = json.NewDecoder(answer.Body).Decode(into)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any, cookies []*http.Cookie) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+"/api/v1"+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		defer answer.Body.Close()
		text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		if err != nil {
			text = []byte(err.Error())
		}
		return nil, &Refused{answer.StatusCode, string(text)}
	}
	return answer, nil
}
