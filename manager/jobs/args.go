package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/internal/reference"
)

// The kinds of jobs; the words are those of model.JobKinds.
const (
	Preheat = "preheat"
	Delete  = "delete"
	Collect = "gc"
	Sync    = "sync"
	Find    = "distribution"
)

// The scopes of a job: on which nodes it is done. The words are Dragonfly's.
const (
	OneSeed  = "single_seed_peer"
	AllSeeds = "all_seed_peers"
	AllPeers = "all_peers" // seeds too
)

// Bounds of arguments.
const (
	maxFiles       = 256
	maxPlatforms   = 32
	maxIPs         = 4096
	maxPin         = 365 * 24 * time.Hour
	maxTimeout     = 24 * time.Hour
	defaultTimeout = 2 * time.Hour
	maxAtOnce      = 1000
	defaultAtOnce  = 50
)

// Args are the arguments of a job. Which ones count is the kind's matter: preheat, delete
// and distribution name an image or files, gc an age.
type Args struct {
	// Image is a reference or the URL of a manifest; or else Files.
	Image     string   `json:"image,omitempty"`
	Platforms []string `json:"platforms,omitempty"` // "linux/amd64"; none = all that the image has
	Files     []File   `json:"files,omitempty"`

	// Scope, default: one seed for preheat, all peers for the others. IPs choose nodes
	// by address, among all peers; Count or Percentage then cut their number.
	Scope      string   `json:"scope,omitempty"`
	IPs        []string `json:"ips,omitempty"`
	Count      int      `json:"count,omitempty"`      // 0 = no bound
	Percentage int      `json:"percentage,omitempty"` // 1 to 100; 0 = no bound

	PinSeconds     int64 `json:"pin_seconds,omitempty"`     // 0 = not pinned
	TimeoutSeconds int64 `json:"timeout_seconds,omitempty"` // of the whole job; 0 = 2 h
	AtOnce         int   `json:"at_once,omitempty"`         // nodes at a time; 0 = 50
	DryRun         bool  `json:"dry_run,omitempty"`         // says what a preheat would move
	UnusedSeconds  int64 `json:"unused_seconds,omitempty"`  // of gc

	// Authorization is the header's value for the registry. Seal takes it away before
	// the job is stored.
	Authorization string `json:"authorization,omitempty"`
	// Also names the jobs that do the same for other clusters.
	Also []int64 `json:"also,omitempty"`
	// Sealed is the authorization, readable to managers with the same key only.
	Sealed []byte `json:"sealed,omitempty"`
}

// File is a content by URL.
type File struct {
	URL    string        `json:"url"`
	Digest digest.Digest `json:"digest,omitempty"` // sha256; "" = not known
}

// Parse reads and checks the arguments of a kind. The error is ErrInvalidArgument and
// begins with the field.
func Parse(kind string, raw json.RawMessage) (Args, error) {
	var a Args
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, fmt.Errorf("args: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if err := a.check(kind); err != nil {
		return a, fmt.Errorf("args.%w: %w", err, errdefs.ErrInvalidArgument)
	}
	a.fill(kind)
	return a, nil
}

// fill sets what was left out.
func (a *Args) fill(kind string) {
	if a.Scope == "" {
		a.Scope = AllPeers
		if kind == Preheat && len(a.IPs) == 0 && a.Count == 0 && a.Percentage == 0 {
			a.Scope = OneSeed
		}
	}
	if a.TimeoutSeconds == 0 {
		a.TimeoutSeconds = int64(defaultTimeout / time.Second)
	}
	if a.AtOnce == 0 {
		a.AtOnce = defaultAtOnce
	}
}

func (a *Args) check(kind string) error {
	if !slices.Contains([]string{Preheat, Delete, Collect, Sync, Find}, kind) {
		return fmt.Errorf("kind: %.40q", kind)
	}
	needsContent := kind == Preheat || kind == Delete || kind == Find
	switch {
	case needsContent && (a.Image == "") == (len(a.Files) == 0):
		return errors.New("image: give either an image or files")
	case !needsContent && (a.Image != "" || len(a.Files) > 0):
		return fmt.Errorf("image: a job of kind %s takes none", kind)
	}
	if a.Image != "" {
		if _, err := reference.Parse(a.Image); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	for _, check := range []func() error{a.checkFiles, a.checkScope, a.checkBounds} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (a *Args) checkFiles() error {
	if len(a.Files) > maxFiles {
		return fmt.Errorf("files: %d, want at most %d", len(a.Files), maxFiles)
	}
	for i, f := range a.Files {
		u, err := url.Parse(f.URL)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(f.URL) > 2048:
			return fmt.Errorf("files[%d].url: %.60q, want an http or https URL", i, f.URL)
		case u.User != nil:
			return fmt.Errorf("files[%d].url: holds a credential", i)
		case f.Digest != "" && (f.Digest.Validate() != nil || f.Digest.Algorithm() != digest.SHA256):
			return fmt.Errorf("files[%d].digest: %.80q, want a sha256 digest", i, f.Digest)
		}
	}
	return nil
}

func (a *Args) checkScope() error {
	if !slices.Contains([]string{"", OneSeed, AllSeeds, AllPeers}, a.Scope) {
		return fmt.Errorf("scope: %.40q, want %s, %s or %s", a.Scope, OneSeed, AllSeeds, AllPeers)
	}
	if len(a.IPs) > maxIPs {
		return fmt.Errorf("ips: %d, want at most %d", len(a.IPs), maxIPs)
	}
	for i, ip := range a.IPs {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("ips[%d]: %.60q is no address", i, ip)
		}
	}
	switch {
	case a.Count < 0:
		return fmt.Errorf("count: %d", a.Count)
	case a.Percentage < 0 || a.Percentage > 100:
		return fmt.Errorf("percentage: %d, want 1 to 100", a.Percentage)
	case a.Count > 0 && a.Percentage > 0:
		return errors.New("percentage: give either a count or a percentage")
	}
	return nil
}

func (a *Args) checkBounds() error {
	if len(a.Platforms) > maxPlatforms {
		return fmt.Errorf("platforms: %d, want at most %d", len(a.Platforms), maxPlatforms)
	}
	for i, p := range a.Platforms {
		if n := strings.Count(p, "/"); n < 1 || n > 2 || len(p) > 64 {
			return fmt.Errorf("platforms[%d]: %.60q, want os/arch or os/arch/variant", i, p)
		}
	}
	for _, b := range []struct {
		name     string
		got, max int64
	}{
		{"pin_seconds", a.PinSeconds, int64(maxPin / time.Second)},
		{"timeout_seconds", a.TimeoutSeconds, int64(maxTimeout / time.Second)},
		{"unused_seconds", a.UnusedSeconds, int64(maxPin / time.Second)},
		{"at_once", int64(a.AtOnce), maxAtOnce},
	} {
		if b.got < 0 || b.got > b.max {
			return fmt.Errorf("%s: %d, want 0 to %d", b.name, b.got, b.max)
		}
	}
	if len(a.Authorization) > 16<<10 || strings.ContainsAny(a.Authorization, "\r\n\x00") {
		return errors.New("authorization: no value of a header")
	}
	return nil
}

// AuthorizationOf takes the one credential out of headers that clients of Dragonfly and
// Harbor send with a job; other headers have no use for a registry.
func AuthorizationOf(headers map[string]string) string {
	for name, value := range headers {
		if http.CanonicalHeaderKey(name) == "Authorization" {
			return value
		}
	}
	return ""
}
