package ca

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// prefix begins every join token, so that one is known where it leaked.
const prefix = "darter-join."

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// newSecret returns a token's secret part and what is kept of it.
func newSecret() (secret, hash string) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	secret = strings.ToLower(encoding.EncodeToString(raw))
	return secret, hashOf(secret)
}

// hashOf is what is kept of a secret: of 256 random bits a plain hash tells nothing.
func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// format makes the token that a host is given: the secret, and the fingerprint of the CA
// that it is to believe.
func format(secret, pin string) string { return prefix + secret + "." + pin }

// secretOf takes a token's secret part.
func secretOf(token string) (string, error) {
	rest, ok := strings.CutPrefix(token, prefix)
	secret, pin, both := strings.Cut(rest, ".")
	if !ok || !both || len(secret) != 52 || len(pin) != 64 {
		return "", fmt.Errorf("that is no join token: %w", errdefs.ErrUnauthenticated)
	}
	return secret, nil
}
