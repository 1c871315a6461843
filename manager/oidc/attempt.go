package oidc

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
)

// Attempt is a sign-in that has begun. The browser that began it keeps it in a cookie that
// scripts cannot read, so that any replica of the manager can finish it and no other browser
// can: a code that was begun elsewhere fits neither its state, nor its nonce, nor its verifier.
type Attempt struct {
	Provider string `json:"provider"` // the provider's name
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`         // of PKCE
	Return   string `json:"return,omitempty"` // where the browser goes in the end
}

// maxAttempt bounds a cookie, in bytes.
const maxAttempt = 4096

// Cookie returns the attempt as a cookie's value.
func (a Attempt) Cookie() string {
	text, _ := json.Marshal(a) // strings
	return base64.RawURLEncoding.EncodeToString(text)
}

// ParseAttempt reads a cookie's value; what is none is ErrUnauthenticated.
func ParseAttempt(cookie string) (a Attempt, err error) {
	if len(cookie) > maxAttempt {
		return a, fmt.Errorf("no sign-in has begun: %w", errdefs.ErrUnauthenticated)
	}
	text, err := base64.RawURLEncoding.DecodeString(cookie)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil || a.State == "" || a.Nonce == "" || a.Verifier == "" {
		return Attempt{}, fmt.Errorf("no sign-in has begun: %w", errdefs.ErrUnauthenticated)
	}
	return a, nil
}

// random returns 256 bits that nobody can guess.
func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
