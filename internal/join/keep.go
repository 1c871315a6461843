package join

import (
	"context"
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/containerd/log"

	joinv1 "github.com/darter-p2p/darter/api/join/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

// look is how often the certificate in use is looked at.
const look = time.Minute

// Keep keeps the membership until ctx ends, and returns nil: it renews the certificate
// when two thirds of its life are over, and joins anew where it has ended, the token still
// letting it. While the manager is away it goes on trying, and the certificate in use
// stays. Where no token is set it does nothing.
func Keep(ctx context.Context, h Host, id *pki.Identity) error {
	if !h.Enabled() {
		return nil
	}
	pause, was := firstPause, ""
	for {
		wait := look
		_, cert := id.Signer()
		if now := time.Now(); now.After(renewal(cert)) {
			err := h.renew(ctx, id, now.After(cert.NotAfter))
			switch {
			case ctx.Err() != nil:
				return nil //nolint:nilerr // it was told to stop
			case err == nil:
				pause, was = firstPause, ""
			default:
				if err.Error() != was { // once for each reason
					was = err.Error()
					log.G(ctx).WithError(err).WithField("until", cert.NotAfter).Warn("The certificate cannot be renewed; it stays in use until it ends")
				}
				wait, pause = pause, min(2*pause, lastPause)
			}
		} else {
			wait = min(wait, time.Until(renewal(cert))+time.Millisecond)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// renewal is when a certificate is to be renewed: when two thirds of its life are over,
// up to a twentieth earlier, so that hosts that joined together do not ask together.
func renewal(cert *x509.Certificate) time.Time {
	issued := pki.Issued(cert)
	life := cert.NotAfter.Sub(issued)
	sum := fnv.New32a()
	_, _ = sum.Write(cert.SerialNumber.Bytes()) // never fails
	early := time.Duration(float64(life) / 20 * float64(sum.Sum32()) / (1 << 32))
	return issued.Add(life*2/3 - early)
}

// renew gets the next certificate once, for the same key.
func (h Host) renew(ctx context.Context, id *pki.Identity, ended bool) error {
	if ended {
		return h.enroll(ctx)
	}
	key, _ := id.Signer()
	csr, err := pki.NewRequest(key)
	if err != nil {
		return err
	}
	var answer *joinv1.RenewResponse
	err = h.call(ctx, id.ClientTLS(pki.Manager), func(ctx context.Context, c joinv1.JoinServiceClient) (err error) {
		answer, err = c.Renew(ctx, &joinv1.RenewRequest{Csr: csr})
		return err
	})
	if err != nil {
		return fmt.Errorf("renew the certificate at %s: %w", h.Address, err)
	}
	cert, err := parse(answer.GetCertificate())
	if err != nil {
		return err
	}
	if err := h.Files.Install(cert, nil); err != nil {
		return err
	}
	log.G(ctx).WithField("until", cert.NotAfter).Info("The certificate was renewed")
	return nil
}
