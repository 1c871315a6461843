package problem

import (
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Route returns nil where a mux has a route for a request, else why not: 404 where there is
// none or the path is not written as it is meant, 405 if there is one of another method, which the
// answer's Allow then names.
func Route(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) error {
	if !meant(r.URL.Path) {
		return &Fault{http.StatusNotFound, "no such path"}
	}
	if _, pattern := mux.Handler(r); pattern != "" {
		return nil
	}
	var allowed []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return &Fault{http.StatusNotFound, "no such path"}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &Fault{http.StatusMethodNotAllowed, "want " + strings.Join(allowed, " or ")}
}

// Meant refuses paths that are not written as they are meant, such as those with dots or two
// slashes, which an http.ServeMux would send elsewhere.
func Meant(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meant(r.URL.Path) {
			Write(w, Of(&Fault{http.StatusNotFound, "no such path"}), nil)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// meant reports a path without tricks; a slash may be at its end.
func meant(p string) bool {
	clean := path.Clean(p)
	return (p == clean || p == clean+"/") && !strings.ContainsAny(p, "\x00\\")
}

// Accept returns nil where a request takes an answer of a media type, else 406. A header that
// names no type takes all.
func Accept(r *http.Request, media string) error {
	named := false
	whole, _, _ := strings.Cut(media, "/")
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			named = true
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q <= 0 {
				continue
			}
			if kind == "*/*" || kind == whole+"/*" || kind == media {
				return nil
			}
		}
	}
	if !named {
		return nil
	}
	return &Fault{http.StatusNotAcceptable, fmt.Sprintf("Accept: the answer is %s", media)}
}
