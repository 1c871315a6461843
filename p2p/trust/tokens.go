package trust

import (
	"time"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/p2p"
)

// Tokens signs a scheduler's tokens with the certificate that its identity has at the time.
type Tokens struct{ Identity *pki.Identity }

// Token returns an encoded Token.
func (t Tokens) Token(task p2p.TaskID, host p2p.HostID, expires time.Time) ([]byte, error) {
	key, cert := t.Identity.Signer()
	by, err := NewSigner(key, cert, nil)
	if err != nil {
		return nil, err
	}
	token, err := by.Token(task, host, expires)
	if err != nil {
		return nil, err
	}
	return token.Encode(), nil
}
