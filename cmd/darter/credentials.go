package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/darter-p2p/darter/internal/durable"
)

// credentials are what darter login keeps: one manager and a personal access token of it.
type credentials struct {
	Manager string `json:"manager"` // URL without a slash at its end
	User    string `json:"user"`
	Token   string `json:"token"`
	// TokenID is the row of a token that darter login made; 0 = the user brought the token.
	TokenID   int64     `json:"token_id,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// credentialsPath is the file, which its owner alone may read.
func credentialsPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where to keep the sign-in: %w", err)
	}
	return filepath.Join(dir, "darter", "manager.json"), nil
}

// readCredentials returns what was kept; without a file, or a home, nothing.
func readCredentials() (credentials, error) {
	var c credentials
	path, err := credentialsPath()
	if err != nil {
		return c, nil //nolint:nilerr // a service without a home has DARTER_TOKEN
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return credentials{}, fmt.Errorf("read the sign-in %s: %w (darter login writes it anew)", path, err)
	}
	return c, nil
}

// write keeps the credentials, whole or not at all.
func (c credentials) write() (path string, err error) {
	path, err = credentialsPath()
	if err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return "", err
	}
	if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
		err = durable.WriteFile(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("keep the sign-in: %w", err)
	}
	return path, nil
}

// forgetCredentials removes the file.
func forgetCredentials() error {
	path, err := credentialsPath()
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the sign-in: %w", err)
	}
	return nil
}

// sameManager reports whether two URLs are written alike but for a slash at the end.
func sameManager(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}
