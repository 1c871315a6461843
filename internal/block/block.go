// Package block holds what an operator has blocked: applications, URLs and tags whose
// content nodes and schedulers refuse. It can be replaced while it is asked.
package block

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/containerd/errdefs"
)

// Request is one wish for content, as far as it is known; "" is nothing.
type Request struct {
	URL         string // with its query, without credentials; of a registry's content as URL says it
	Application string // that asks
	Tag         string // that its user gave the download; no registry's tag
}

// URL returns the URL of an origin of the piece network: that of a registry's content,
// oci://<host>/<repository>/…, is https://<host>/v2/<repository>/….
func URL(origin string) string {
	if rest, ok := strings.CutPrefix(origin, "oci://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		return "https://" + host + "/v2/" + path
	}
	url, _, _ := strings.Cut(origin, "#")
	return url
}

// Error says which rule blocks a request. It is an ErrPermissionDenied.
type Error struct{ Rule string }

func (e *Error) Error() string { return "blocked by the manager's rule " + e.Rule }

// Unwrap returns ErrPermissionDenied.
func (e *Error) Unwrap() error { return errdefs.ErrPermissionDenied }

// Rules are what is blocked. Nil blocks nothing.
type Rules struct {
	applications, tags map[string]bool
	urls               []*regexp.Regexp
}

// New returns rules for exact names of applications and tags, and for regular expressions
// that match a part of a URL. One that does not compile is ErrInvalidArgument.
func New(applications, urls, tags []string) (*Rules, error) {
	if len(applications)+len(urls)+len(tags) == 0 {
		return nil, nil
	}
	r := &Rules{applications: set(applications), tags: set(tags)}
	for _, u := range urls {
		re, err := regexp.Compile(u)
		if err != nil {
			return nil, fmt.Errorf("block url: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		r.urls = append(r.urls, re)
	}
	return r, nil
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, n := range names {
		s[n] = true
	}
	return s
}

// Check returns an *Error for what is blocked.
func (r *Rules) Check(q Request) error {
	switch {
	case r == nil:
		return nil
	case q.Application != "" && r.applications[q.Application]:
		return &Error{fmt.Sprintf("application %q", q.Application)}
	case q.Tag != "" && r.tags[q.Tag]:
		return &Error{fmt.Sprintf("tag %q", q.Tag)}
	case q.URL == "":
		return nil
	}
	for _, re := range r.urls {
		if re.MatchString(q.URL) {
			return &Error{fmt.Sprintf("url %q", re)}
		}
	}
	return nil
}

// List is rules that can be replaced. The zero List, and a nil one, block nothing. Its
// methods may be called concurrently.
type List struct{ rules atomic.Pointer[Rules] }

// Set replaces the rules.
func (l *List) Set(r *Rules) { l.rules.Store(r) }

// Rules returns those that hold now. The same pointer is the same rules.
func (l *List) Rules() *Rules {
	if l == nil {
		return nil
	}
	return l.rules.Load()
}
