package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Prefixes of secrets, by which scanners of leaked text know them.
const (
	tokenPrefix   = "dat_" // a personal access token
	sessionPrefix = "das_" // a session
)

// newSecret returns 256 random bits behind a prefix.
func newSecret(prefix string) string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random)
}

// hashSecret returns what the database knows of a secret, and whether it can be one.
func hashSecret(prefix, secret string) (string, bool) {
	rest, ok := strings.CutPrefix(secret, prefix)
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(32) {
		return "", false
	}
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:]), true
}

// RandomPassword returns a password that nobody chose.
func RandomPassword() string {
	return rand.Text()
}
