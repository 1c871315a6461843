package model

import (
	"math/big"
	"slices"
)

// MaxUses bounds the hosts that one token lets join.
const MaxUses = 100_000

// JoinToken lets hosts of one role become members.
type JoinToken struct {
	ID int64 `json:"id" gorm:"primaryKey"`
	// Hash is the SHA-256 of the secret, hex.
	Hash    string `json:"-"`
	Role    Role   `json:"role"`
	Comment string `json:"comment,omitempty"`
	Author  string `json:"author"`
	// Uses is how many hosts it lets join in all, UsesLeft how many more.
	Uses      int64 `json:"uses"`
	UsesLeft  int64 `json:"uses_left"`
	Revoked   bool  `json:"revoked"`
	CreatedAt Time  `json:"created_at" gorm:"autoCreateTime:false"`
	ExpiresAt Time  `json:"expires_at"`
}

// Validate checks all but the times.
func (t *JoinToken) Validate() error {
	if !slices.Contains([]Role{RoleScheduler, RoleSeed, RoleNode}, t.Role) {
		return invalid("role", "%.40q, want scheduler, seed or node", string(t.Role))
	}
	if t.Uses < 1 || t.Uses > MaxUses {
		return invalid("uses", "%d, want 1 to %d", t.Uses, MaxUses)
	}
	return checkText("comment", t.Comment)
}

// Good reports whether the token lets one more host in.
func (t *JoinToken) Good(now Time) bool {
	return !t.Revoked && t.UsesLeft > 0 && now.Before(t.ExpiresAt.Time)
}

// Certificate is one that a manager gave, or that an operator revoked by its number.
type Certificate struct {
	ID int64 `json:"id" gorm:"primaryKey"`
	// Serial is its number, hexadecimal in small letters.
	Serial string `json:"serial"`
	// Role and Name are the member's; empty where only the number is known.
	Role Role   `json:"role,omitempty"`
	Name string `json:"name,omitempty"`
	// TokenID is the token that its member joined with; 0 = none.
	TokenID int64 `json:"token_id,omitempty"`
	// KeyHash is the SHA-256 of its public key, hex.
	KeyHash   string `json:"-"`
	RevokedAt Time   `json:"revoked_at,omitzero"`
	RevokedBy string `json:"revoked_by,omitempty"`
	CreatedAt Time   `json:"created_at" gorm:"autoCreateTime:false"`
	ExpiresAt Time   `json:"expires_at"`
}

// CheckSerial reports what is no serial number as Certificate has it.
func CheckSerial(s string) error {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok || len(s) > 40 || n.Sign() <= 0 || n.Text(16) != s {
		return invalid("serial", "%.60q, want a certificate's number, hexadecimal", s)
	}
	return nil
}
