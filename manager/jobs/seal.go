package jobs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
)

// Sealer keeps the credentials of stored jobs unreadable without its key. All managers of
// one database need the same key. Its methods may be called concurrently.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a Sealer with a key of 32 bytes; nil makes one that no other process
// has, so that a job with a credential fails where its manager dies.
func NewSealer(key []byte) (*Sealer, error) {
	if key == nil {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("job credentials: key of %d bytes, want 32: %w", len(key), errdefs.ErrInvalidArgument)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Sealer{aead}, err
}

// Prepare checks the arguments of a new job and returns them as they may be stored and
// shown: with defaults, and with the credential sealed.
func (s *Sealer) Prepare(kind string, raw json.RawMessage) (json.RawMessage, error) {
	a, err := Parse(kind, raw)
	if err != nil {
		return nil, err
	}
	if a.Sealed != nil { // another job's credential
		return nil, fmt.Errorf("args.sealed: is set by the manager: %w", errdefs.ErrInvalidArgument)
	}
	if a.Authorization != "" {
		a.Sealed = s.aead.Seal(nil, nil, []byte(a.Authorization), []byte(a.purpose()))
		a.Authorization = ""
	}
	return json.Marshal(a)
}

// open reads stored arguments, with the credential.
func (s *Sealer) open(kind string, raw json.RawMessage) (Args, error) {
	a, err := Parse(kind, raw)
	if err != nil || a.Sealed == nil {
		return a, err
	}
	plain, err := s.aead.Open(nil, nil, a.Sealed, []byte(a.purpose()))
	if err != nil {
		return a, fmt.Errorf("the job's credential was sealed by a manager with another key, or changed: %w", errors.Join(err, errdefs.ErrFailedPrecondition))
	}
	a.Authorization = string(plain)
	return a, nil
}

// purpose is what a sealed credential is good for: it cannot be moved to another image.
func (a *Args) purpose() string { return "darter job credential for " + a.Image }
