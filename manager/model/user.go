package model

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// User is a person or a program that signs in.
type User struct {
	ID    int64  `json:"id" gorm:"primaryKey"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	// Roles are names of roles.
	Roles []string `json:"roles" gorm:"serializer:json"`
	// Disabled users cannot sign in, and their sessions and tokens do not work.
	Disabled bool `json:"disabled"`
	// PasswordHash is empty for users who sign in through a provider only.
	PasswordHash string `json:"-"`
	// Subject is "<issuer> <sub>" of a user who signs in through an OIDC provider, at most
	// MaxSubject bytes. Issuers have no space.
	Subject   string `json:"subject,omitempty"`
	CreatedAt Time   `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt Time   `json:"updated_at" gorm:"autoUpdateTime:false"`
}

// MaxSubject is the most bytes of a user's subject.
const MaxSubject = 400

// Validate checks name, mail address, subject and roles.
func (u *User) Validate() error {
	if err := checkName("name", u.Name); err != nil {
		return err
	}
	if err := CheckEmail("email", u.Email); err != nil {
		return err
	}
	if u.Subject != "" {
		if err := checkText("subject", u.Subject); err != nil {
			return err
		}
		if issuer, sub, ok := strings.Cut(u.Subject, " "); !ok || issuer == "" || sub == "" || len(u.Subject) > MaxSubject {
			return invalid("subject", "%.60q, want \"<issuer> <sub>\" of at most %d bytes", u.Subject, MaxSubject)
		}
	}
	return checkList("roles", u.Roles, checkName)
}

// CheckEmail reports what cannot be a mail address; the empty one can.
func CheckEmail(field, email string) error {
	if err := checkText(field, email); err != nil {
		return err
	}
	if email != "" && (len(email) > 255 || strings.Count(email, "@") != 1 || strings.ContainsAny(email, " \n\t<>,;")) {
		return invalid(field, "%.60q is no mail address", email)
	}
	return nil
}

// NameFrom makes of any text one that Validate takes as a name, "user" where nothing is left.
func NameFrom(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
			return r
		case r == '@', r == ' ':
			return '-'
		}
		return -1
	}, text)
	clean = strings.TrimLeft(clean, ".-_")
	if clean == "" {
		return "user"
	}
	return clean[:min(len(clean), 100)] // leaves room for a number
}

// Names of the roles that are always there and cannot be changed.
const (
	RootRole  = "root"  // may everything
	GuestRole = "guest" // reads
)

// AccessRole is a named set of permissions.
type AccessRole struct {
	Name        string       `json:"name" gorm:"primaryKey"`
	Description string       `json:"description,omitempty"`
	Permissions []Permission `json:"permissions" gorm:"serializer:json"`
	CreatedAt   Time         `json:"created_at,omitzero" gorm:"autoCreateTime:false"`
	UpdatedAt   Time         `json:"updated_at,omitzero" gorm:"autoUpdateTime:false"`
}

// TableName is the table of roles.
func (AccessRole) TableName() string { return "roles" }

// Permission lets a role do something to one kind of object.
type Permission struct {
	Object string `json:"object"` // one of Objects(), or "*"
	Action string `json:"action"` // "read", or "write", which includes read
}

// The actions of permissions.
const (
	Read  = "read"
	Write = "write"
)

// Objects returns the kinds of objects that permissions and scopes name: the first
// path element below /api/v1.
func Objects() []string {
	return []string{
		"applications", "audits", "certificates", "clusters", "configurations", "jobs", "join-tokens", "nodes", "providers",
		"roles", "schedulers", "search", "seeds", "tokens", "users",
	}
}

// Validate checks the name and that every permission can be used.
func (r *AccessRole) Validate() error {
	if err := checkName("name", r.Name); err != nil {
		return err
	}
	if err := checkText("description", r.Description); err != nil {
		return err
	}
	if len(r.Permissions) > MaxList {
		return invalid("permissions", "%d entries, want at most %d", len(r.Permissions), MaxList)
	}
	for i, p := range r.Permissions {
		if err := p.validate(fmt.Sprintf("permissions[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (p Permission) validate(field string) error {
	if p.Object != "*" && !slices.Contains(Objects(), p.Object) {
		return invalid(field+".object", "%.40q, want * or one of %s", p.Object, strings.Join(Objects(), ", "))
	}
	if p.Action != Read && p.Action != Write {
		return invalid(field+".action", "%.40q, want read or write", p.Action)
	}
	return nil
}

// Session is a signed-in browser.
type Session struct {
	ID        int64  `gorm:"primaryKey"`
	UserID    int64  // who signed in
	Hash      string // SHA-256 of the cookie, hex
	CreatedAt Time   `gorm:"autoCreateTime:false"`
	ExpiresAt Time
}

// AccessToken is a personal access token: a program's way in.
type AccessToken struct {
	ID     int64  `json:"id" gorm:"primaryKey"`
	UserID int64  `json:"user_id"`
	Name   string `json:"name"`
	// Hash is the SHA-256 of the secret, hex.
	Hash string `json:"-"`
	// Scopes cut the user's rights down: "<object>:read", "<object>:write" or "*".
	Scopes    []string `json:"scopes" gorm:"serializer:json"`
	Revoked   bool     `json:"revoked"`
	ExpiresAt Time     `json:"expires_at"`
	UsedAt    Time     `json:"used_at,omitzero"`
	CreatedAt Time     `json:"created_at" gorm:"autoCreateTime:false"`
}

// Validate checks name and scopes; an empty list of scopes is refused, for it would be
// read as "all" by one and as "none" by another.
func (t *AccessToken) Validate() error {
	if err := checkName("name", t.Name); err != nil {
		return err
	}
	if len(t.Scopes) == 0 {
		return invalid("scopes", "empty, want a list such as jobs:write or *")
	}
	return checkList("scopes", t.Scopes, func(field, scope string) error {
		if scope == "*" {
			return nil
		}
		object, action, ok := strings.Cut(scope, ":")
		if !ok {
			return invalid(field, "%.60q, want <object>:read or <object>:write", scope)
		}
		return Permission{Object: object, Action: action}.validate(field)
	})
}

// Provider is an OpenID Connect provider that users sign in through.
type Provider struct {
	ID           int64  `json:"id" gorm:"primaryKey"`
	Name         string `json:"name"`
	Issuer       string `json:"issuer"` // its discovery document is at <issuer>/.well-known/openid-configuration
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"-"`
	// Scopes are asked for beside openid.
	Scopes []string `json:"scopes,omitempty" gorm:"serializer:json"`
	// Roles are given to a user who signs in for the first time; guest where there are none.
	Roles     []string `json:"roles" gorm:"serializer:json"`
	CreatedAt Time     `json:"created_at" gorm:"autoCreateTime:false"`
	UpdatedAt Time     `json:"updated_at" gorm:"autoUpdateTime:false"`
}

// maxIssuer leaves room in a subject for the longest sub, 255 bytes.
const maxIssuer = MaxSubject - 1 - 255

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Validate checks everything but that the provider answers.
func (p *Provider) Validate() error {
	if err := checkName("name", p.Name); err != nil {
		return err
	}
	if err := checkText("issuer", p.Issuer); err != nil {
		return err
	}
	u, err := url.Parse(p.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(p.Issuer, " ") {
		return invalid("issuer", "%.60q, want an https URL", p.Issuer)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return invalid("issuer", "%.60q, want https: whoever is between could sign in as anybody", p.Issuer)
	}
	if len(p.Issuer) > maxIssuer {
		return invalid("issuer", "%d bytes, want at most %d", len(p.Issuer), maxIssuer)
	}
	if p.ClientID == "" {
		return invalid("client_id", "empty")
	}
	if err := checkText("client_id", p.ClientID); err != nil {
		return err
	}
	if err := checkList("scopes", p.Scopes, checkText); err != nil {
		return err
	}
	return checkList("roles", p.Roles, checkName)
}

// Audit is one request that changed something or was refused.
type Audit struct {
	ID int64 `json:"id" gorm:"primaryKey"`
	At Time  `json:"at"`
	// ActorKind is "user", "token", "member" or "unknown".
	ActorKind string `json:"actor_kind"`
	// Actor is the user's name, with a token's as "user/token".
	Actor  string `json:"actor,omitempty"`
	Remote string `json:"remote,omitempty"` // the caller's address
	Action string `json:"action"`           // the route's name, such as updateCluster
	Object string `json:"object,omitempty"` // the path
	Status int64  `json:"status"`           // the HTTP status
	// Outcome is "ok", "refused" or "failed".
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"` // of a refusal or failure
}
