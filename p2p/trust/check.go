package trust

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/darter-p2p/darter/p2p"
)

// The check methods say whether a statement is a possible one, whoever signed it.
// They run before a statement is signed, after it is decoded and when it is verified;
// their errors wrap ErrMalformed.

func (t *Token) check() error {
	if err := checkCommon(t.Task, t.Expires, t.Cert, nil, t.Sig); err != nil {
		return err
	}
	return malformed(t.Host.Validate())
}

func (b *Batch) check() error {
	if err := checkCommon(b.Task, b.Signed, b.Cert, b.Token, b.Sig); err != nil {
		return err
	}
	if err := b.Geometry.Validate(); err != nil {
		return malformed(err)
	}
	pieces, n := int64(b.Geometry.Pieces()), int64(len(b.Digests))
	switch {
	case b.Final && (b.First != 0 || n != pieces):
		return malformed(fmt.Errorf("final with %d digests from piece %d, want all %d", n, b.First, pieces))
	case !b.Final && n == 0:
		return malformed(fmt.Errorf("no digests"))
	case int64(b.First)+n > pieces:
		return malformed(fmt.Errorf("%d digests from piece %d in a task of %d pieces", n, b.First, pieces))
	}
	return nil
}

func (r *Revocation) check() error {
	if err := checkCommon(r.Task, r.Signed, r.Cert, r.Token, r.Sig); err != nil {
		return err
	}
	if err := r.Signer.Validate(); err != nil {
		return malformed(err)
	}
	if len(r.Origin) > MaxOriginLen || len(r.Reason) > MaxReasonLen {
		return malformed(fmt.Errorf("origin of %d bytes and reason of %d, want at most %d and %d", len(r.Origin), len(r.Reason), MaxOriginLen, MaxReasonLen))
	}
	if !utf8.ValidString(string(r.Origin)) || !utf8.ValidString(r.Reason) {
		return malformed(fmt.Errorf("origin or reason is not UTF-8"))
	}
	return nil
}

// maxUnix is the end of the year 9999.
const maxUnix = 253402300799

func checkCommon(task p2p.TaskID, at time.Time, cert, token, sig []byte) error {
	switch s := at.Unix(); {
	case task.IsZero():
		return malformed(fmt.Errorf("no task"))
	case s < 0 || s > maxUnix || at.Nanosecond() != 0:
		return malformed(fmt.Errorf("time %s, want whole seconds from 1970 to 9999", at))
	case len(cert) > MaxCertLen, len(token) > MaxTokenLen, len(sig) > MaxSigLen:
		return malformed(fmt.Errorf("certificate, token or signature too long (%d, %d, %d bytes)", len(cert), len(token), len(sig)))
	}
	return nil
}

func malformed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// cutText returns at most limit bytes of s, without half a character at the end, and
// with what is not UTF-8 replaced.
func cutText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
