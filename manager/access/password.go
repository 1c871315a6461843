package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id: OWASP's second choice, 19 MiB and two passes.
const (
	hashMemory  = 19 << 10 // KiB
	hashPasses  = 2
	hashThreads = 1
	hashBytes   = 32
	saltBytes   = 16
)

// Bounds of passwords, in characters.
const (
	MinPassword = 12
	MaxPassword = 256
)

// hasher hashes at most a few passwords at a time, for each takes memory and time.
type hasher struct{ turns chan struct{} }

func newHasher(atOnce int) *hasher { return &hasher{make(chan struct{}, atOnce)} }

// hash returns a password's hash with all that is needed to check it.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := h.key(ctx, password, salt)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashPasses, hashThreads, b64(salt), b64(key)), nil
}

// check reports whether a password has a hash. With an empty hash, or one that cannot be
// read, it takes the same time and says no.
func (h *hasher) check(ctx context.Context, password, hash string) (bool, error) {
	salt, want := parseHash(hash)
	known := want != nil
	if !known {
		salt, want = make([]byte, saltBytes), make([]byte, hashBytes)
	}
	key, err := h.key(ctx, password, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want) == 1 && known, nil
}

func (h *hasher) key(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turns }()
	return argon2.IDKey([]byte(password), salt, hashPasses, hashMemory, hashThreads, hashBytes), nil
}

// parseHash reads a hash of these parameters; other than these were never written.
func parseHash(hash string) (salt, key []byte) {
	prefix := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, hashMemory, hashPasses, hashThreads)
	rest, ok := strings.CutPrefix(hash, prefix)
	if !ok {
		return nil, nil
	}
	first, second, _ := strings.Cut(rest, "$")
	salt, err := base64.RawStdEncoding.DecodeString(first)
	if err != nil || len(salt) != saltBytes {
		return nil, nil
	}
	key, err = base64.RawStdEncoding.DecodeString(second)
	if err != nil || len(key) != hashBytes {
		return nil, nil
	}
	return salt, key
}

// checkPassword reports a new password that is too short, too long or the user's name.
func checkPassword(name, password string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password):
		return fmt.Errorf("password: not UTF-8: %w", errdefs.ErrInvalidArgument)
	case n < MinPassword || n > MaxPassword:
		return fmt.Errorf("password: %d characters, want %d to %d: %w", n, MinPassword, MaxPassword, errdefs.ErrInvalidArgument)
	case strings.EqualFold(password, name):
		return fmt.Errorf("password: is the user's name: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
