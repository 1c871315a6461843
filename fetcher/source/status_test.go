package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestErrorClass(t *testing.T) {
	classes := []error{
		errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied, errdefs.ErrNotFound, errdefs.ErrOutOfRange,
		errdefs.ErrResourceExhausted, errdefs.ErrUnavailable, errdefs.ErrInvalidArgument,
		errdefs.ErrFailedPrecondition, errdefs.ErrUnknown,
	}
	cause := errors.New("connection refused")
	for _, tc := range []struct {
		e    *Error
		want error // nil = none of the classes
	}{
		{&Error{Status: 400}, errdefs.ErrInvalidArgument},
		{&Error{Status: 401}, errdefs.ErrUnauthenticated},
		{&Error{Status: 403}, errdefs.ErrPermissionDenied},
		{&Error{Status: 404}, errdefs.ErrNotFound},
		{&Error{Status: 410}, errdefs.ErrNotFound},
		{&Error{Status: 412}, errdefs.ErrFailedPrecondition},
		{&Error{Status: 416}, errdefs.ErrOutOfRange},
		{&Error{Status: 418}, errdefs.ErrUnknown},
		{&Error{Status: 429}, errdefs.ErrResourceExhausted},
		{&Error{Status: 408}, errdefs.ErrUnavailable},
		{&Error{Status: 500}, errdefs.ErrUnavailable},
		{&Error{Status: 503}, errdefs.ErrUnavailable},
		{&Error{Status: 206, Err: errors.New("wrong range")}, errdefs.ErrUnavailable},
		{&Error{Err: cause}, errdefs.ErrUnavailable},
		{&Error{Err: context.Canceled}, nil},
	} {
		wrapped := fmt.Errorf("read layer: %w", tc.e)
		for _, c := range classes {
			if got, want := errors.Is(wrapped, c), tc.want != nil && c.Error() == tc.want.Error(); got != want {
				t.Errorf("%v: is %v = %v, want %v", tc.e, c, got, want)
			}
		}
	}
	if err := fmt.Errorf("read: %w", &Error{Err: cause}); !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
}

func TestErrorOf(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	resp := &http.Response{
		StatusCode: 429,
		Header: http.Header{
			"Retry-After": {"7"}, "Www-Authenticate": {`Bearer realm="x"`, `Basic realm="y"`},
			"Set-Cookie": {"secret=1"}, "Content-Type": {"application/json"},
		},
		Body: io.NopCloser(strings.NewReader(strings.Repeat("x", maxErrorBody+1))),
	}
	e := ErrorOf(resp, "registry.test", now)
	if e.Status != 429 || e.Host != "registry.test" || e.RetryAfter != 7*time.Second || len(e.Body) != maxErrorBody {
		t.Errorf("got %+v", e)
	}
	if got := e.Header.Values("WWW-Authenticate"); len(got) != 2 {
		t.Errorf("WWW-Authenticate = %q, want both", got)
	}
	if e.Header.Get("Set-Cookie") != "" {
		t.Error("Set-Cookie was kept")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"":                              0,
		"5":                             5 * time.Second,
		" 5 ":                           5 * time.Second,
		"-5":                            0,
		"soon":                          0,
		"18446744073709551615":          0,
		"9223372036854775807":           time.Hour,
		"Fri, 20 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Fri, 20 Nov 2026 11:00:30 GMT": 0,
		"Fri, 20 Nov 2036 11:00:30 GMT": time.Hour,
	} {
		if got := RetryAfter(in, now); got != want {
			t.Errorf("RetryAfter(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("5")
	f.Add("Fri, 20 Nov 2026 12:00:30 GMT")
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, v string) {
		if d := RetryAfter(v, now); d < 0 || d > time.Hour {
			t.Errorf("RetryAfter(%q) = %v", v, d)
		}
	})
}
