package p2p

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// TaskKind says from what a task's identity is computed.
type TaskKind uint8

const (
	// KindSHA256 is a content known by its sha256 digest, wherever it came from.
	KindSHA256 TaskKind = 1
	// KindURL is a content known only by a canonical URL, a tag and an application.
	KindURL TaskKind = 2
)

// TaskIDLen is the length in bytes of a TaskID's binary form: its kind, then 32 bytes.
const TaskIDLen = 1 + sha256.Size

// ErrBadTaskID is wrapped by every error about a malformed task identity.
var ErrBadTaskID = errors.New("bad task id")

// TaskID identifies one content to distribute. It says what the content is, not
// where it is from: the same layer in two registries is one task. The zero TaskID
// names nothing. TaskID is comparable and may be a map key.
type TaskID struct {
	kind TaskKind
	sum  [sha256.Size]byte
}

// TaskOfDigest returns the task of the content with the given digest. Only sha256
// digests name tasks; any other algorithm is an error that wraps ErrBadTaskID.
func TaskOfDigest(d digest.Digest) (TaskID, error) {
	if err := d.Validate(); err != nil {
		return TaskID{}, fmt.Errorf("%w: digest %q: %w", ErrBadTaskID, d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return TaskID{}, fmt.Errorf("%w: digest %q is not sha256", ErrBadTaskID, d)
	}
	return ParseTaskID(d.String())
}

// TaskOfURL returns the task of the content at a canonical URL, as told apart by
// a user's tag and application. Making the URL canonical (dropping signatures and
// expiry from its query) is the caller's part.
func TaskOfURL(canonical, tag, application string) TaskID {
	return taskOfParts(canonical, tag, application)
}

// TaskOfGeneration returns the task of one generation of the content that TaskOfURL
// names: the bytes that have the given validator. Another generation is another task,
// so that bytes of the two never meet.
func TaskOfGeneration(canonical, tag, application, validator string) TaskID {
	return taskOfParts(canonical, tag, application, validator)
}

func taskOfParts(parts ...string) TaskID {
	h := sha256.New()
	for _, s := range parts {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	id := TaskID{kind: KindURL}
	h.Sum(id.sum[:0])
	return id
}

// ParseTaskID reads the text form, "sha256:<64 hex>" or "url:<64 hex>".
func ParseTaskID(s string) (TaskID, error) {
	kind, sum, ok := strings.Cut(s, ":")
	var id TaskID
	switch {
	case !ok:
		return TaskID{}, fmt.Errorf("%w: %q has no kind (want sha256:<hex> or url:<hex>)", ErrBadTaskID, s)
	case kind == "sha256":
		id.kind = KindSHA256
	case kind == "url":
		id.kind = KindURL
	default:
		return TaskID{}, fmt.Errorf("%w: %q: unknown kind %q (want sha256 or url)", ErrBadTaskID, s, kind)
	}
	if len(sum) != 2*sha256.Size || strings.ToLower(sum) != sum {
		return TaskID{}, fmt.Errorf("%w: %q: want %d lower-case hex digits", ErrBadTaskID, s, 2*sha256.Size)
	}
	if _, err := hex.Decode(id.sum[:], []byte(sum)); err != nil {
		return TaskID{}, fmt.Errorf("%w: %q: %w", ErrBadTaskID, s, err)
	}
	return id, nil
}

// Kind returns the kind, or 0 for the zero TaskID.
func (t TaskID) Kind() TaskKind { return t.kind }

// IsZero reports whether t names nothing.
func (t TaskID) IsZero() bool { return t.kind == 0 }

// Digest returns the content's digest where the identity is one.
func (t TaskID) Digest() (digest.Digest, bool) {
	if t.kind != KindSHA256 {
		return "", false
	}
	return digest.NewDigestFromBytes(digest.SHA256, t.sum[:]), true
}

// String returns the text form, or "" for the zero TaskID.
func (t TaskID) String() string {
	switch t.kind {
	case KindSHA256:
		return "sha256:" + hex.EncodeToString(t.sum[:])
	case KindURL:
		return "url:" + hex.EncodeToString(t.sum[:])
	}
	return ""
}

// Short returns the kind and the first 12 hex digits, for logs and tables.
func (t TaskID) Short() string {
	s := t.String()
	if i := strings.IndexByte(s, ':'); i >= 0 && len(s) > i+13 {
		return s[:i+13]
	}
	return s
}

// AppendBinary appends the TaskIDLen bytes of the binary form.
func (t TaskID) AppendBinary(b []byte) []byte {
	b = append(b, byte(t.kind))
	return append(b, t.sum[:]...)
}

// TaskIDFromBinary reads the first TaskIDLen bytes of b.
func TaskIDFromBinary(b []byte) (TaskID, error) {
	if len(b) < TaskIDLen {
		return TaskID{}, fmt.Errorf("%w: %d bytes, want %d", ErrBadTaskID, len(b), TaskIDLen)
	}
	id := TaskID{kind: TaskKind(b[0])}
	if id.kind != KindSHA256 && id.kind != KindURL {
		return TaskID{}, fmt.Errorf("%w: unknown kind %d", ErrBadTaskID, b[0])
	}
	copy(id.sum[:], b[1:TaskIDLen])
	return id, nil
}

// MarshalText and UnmarshalText use the text form, for JSON and TOML.
func (t TaskID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the text form.
func (t *TaskID) UnmarshalText(b []byte) error {
	id, err := ParseTaskID(string(b))
	if err != nil {
		return err
	}
	*t = id
	return nil
}
