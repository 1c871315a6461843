package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/internal/pki"
)

const (
	// answerTimeout bounds one question to a program of this host or a scheduler.
	answerTimeout = 5 * time.Second
	// renewal is how long before its end a certificate should be replaced.
	renewal = 7 * 24 * time.Hour
)

func (f *facts) darterd(context.Context) Finding {
	switch {
	case f.statusErr != nil:
		return fail("systemctl start darterd; if it does not stay up: journalctl -u darterd", "%v", f.statusErr)
	case !f.status.Ready:
		return fail("journalctl -u darterd", "running, but not ready: %s", f.status.Reason)
	}
	return ok("%s %s, version %s", f.status.Role, f.status.Host, f.status.Version)
}

func (f *facts) scheduler(ctx context.Context) Finding {
	const do = "look at the scheduler (systemctl status darter-scheduler there), the network to it and [scheduler] addresses; until then downloads go to the origin"
	if f.statusErr == nil {
		var troubles []string
		for _, s := range f.status.Schedulers {
			if s.State == darterdv1.SchedulerConnected {
				return ok("connected to %s", s.Address)
			}
			troubles = append(troubles, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Address, s.State, s.Error)))
		}
		return fail(do, "no scheduler is connected: %s", strings.Join(troubles, "; "))
	}
	var errs []error
	for _, addr := range f.Schedulers {
		conn, err := (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return ok("%s can be reached; darterd does not run", addr)
		}
		errs = append(errs, err)
	}
	return fail(do, "no scheduler can be reached: %v", errors.Join(errs...))
}

func (f *facts) certificate(context.Context) Finding {
	issue := "issue one with \"darter ca issue\" and copy it to " + f.TLS.Cert + " and " + f.TLS.Key
	id, err := pki.Load(f.TLS)
	if err != nil {
		return fail(issue+"; see [tls] in "+f.Config, "%v", err)
	}
	want := pki.Node
	if f.Seed {
		want = pki.Seed
	}
	_, cert := id.Signer()
	left := cert.NotAfter.Sub(f.Now)
	switch {
	case f.Now.Before(cert.NotBefore):
		return fail("set the clock of this node or of the machine that issued it (chronyc tracking)", "%s is valid only from %s on, and it is %s here", id.Name(), stamp(cert.NotBefore), stamp(f.Now))
	case left <= 0:
		return fail(issue, "%s ended at %s (it is %s here)", id.Name(), stamp(cert.NotAfter), stamp(f.Now))
	case id.Name().Role != want:
		return fail(issue+" --role "+string(want)+", or change [seed] enable", "%s is of role %s, and darterd is configured as %s", id.Name(), id.Name().Role, want)
	case left < renewal:
		return warn(issue+"; darterd reads it by itself", "%s ends at %s", id.Name(), stamp(cert.NotAfter))
	}
	return ok("%s, valid until %s", id.Name(), stamp(cert.NotAfter))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// ports looks whether darterd answers where its clients look for it, and, where it
// does not run, whether somebody else does.
func (f *facts) ports(ctx context.Context) Finding {
	peer := f.PeerListen
	if host, port, err := net.SplitHostPort(peer); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		peer = net.JoinHostPort("127.0.0.1", port)
	}
	conn, peerErr := (&net.Dialer{Timeout: answerTimeout}).DialContext(ctx, "tcp", peer)
	if peerErr == nil {
		conn.Close()
	}
	mirrorErr := answers(ctx, f.Containerd.Mirror+"/v2/")
	switch {
	case f.statusErr != nil && peerErr == nil:
		return fail("find it (ss -ltnp) and stop it, or change peer.listen in "+f.Config, "darterd does not run, and something else listens at %s", peer)
	case f.statusErr != nil && mirrorErr == nil:
		return fail("find it (ss -ltnp) and stop it, or change mirror.listen in "+f.Config, "darterd does not run, and something else answers at %s", f.Containerd.Mirror)
	case f.statusErr != nil:
		return skip("darterd does not run, and its ports are free")
	case mirrorErr != nil:
		return fail("compare mirror.listen in "+f.Config+" with what darterd was started with; restart it", "the mirror does not answer: %v", mirrorErr)
	case peerErr != nil:
		return fail("compare peer.listen in "+f.Config+" with what darterd was started with; look at the firewall", "the piece network does not answer: %v", peerErr)
	}
	return ok("mirror %s, pieces %s", f.Containerd.Mirror, peer)
}

// answers asks an HTTP server; any answer will do.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
