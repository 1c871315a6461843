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

// Sizes of hashes. One thread, for a manager hashes several passwords at once instead.
const (
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
type hasher struct {
	cost  Cost // of new hashes
	turns chan struct{}
}

func newHasher(cost Cost, atOnce int) *hasher { return &hasher{cost, make(chan struct{}, atOnce)} }

// hash returns a password's hash with all that is needed to check it.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := h.key(ctx, h.cost, password, salt)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.cost.MemoryKiB, h.cost.Passes, hashThreads, b64(salt), b64(key)), nil
}

// check reports whether a password has a hash, and whether the hash should be made anew
// because it has another cost. With an empty hash, or one that cannot be read, it takes
// the time of one and says no.
func (h *hasher) check(ctx context.Context, password, hash string) (good, stale bool, err error) {
	cost, salt, want := parseHash(hash)
	known := want != nil
	if !known {
		cost, salt, want = h.cost, make([]byte, saltBytes), make([]byte, hashBytes)
	}
	key, err := h.key(ctx, cost, password, salt)
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(key, want) == 1 && known, cost != h.cost, nil
}

func (h *hasher) key(ctx context.Context, cost Cost, password string, salt []byte) ([]byte, error) {
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turns }()
	return argon2.IDKey([]byte(password), salt, uint32(cost.Passes), uint32(cost.MemoryKiB), hashThreads, hashBytes), nil
}

// parseHash reads a hash; a nil key says that it is none. Its cost is within the bounds
// of a configuration, so that a row cannot take all memory.
func parseHash(hash string) (cost Cost, salt, key []byte) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return cost, nil, nil
	}
	threads := 0
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.MemoryKiB, &cost.Passes, &threads); err != nil || threads != hashThreads || cost.validate() != nil {
		return cost, nil, nil
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) != saltBytes {
		return cost, nil, nil
	}
	key, err = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) != hashBytes {
		return cost, nil, nil
	}
	return cost, salt, key
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
