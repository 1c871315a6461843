package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/darter-p2p/darter/plugin/rafs/client"
)

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Handler answers clients.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+client.StatusPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) })
	mux.HandleFunc("GET "+client.MountsPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, s.List()) })
	mux.HandleFunc("PUT "+client.MountsPath+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		var q client.Request
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q)
		switch {
		case err != nil:
			err = fmt.Errorf("mount request: %w: %w", err, errdefs.ErrInvalidArgument)
		case q.ID != r.PathValue("id"):
			err = fmt.Errorf("mount request of %q at %q: %w", q.ID, r.PathValue("id"), errdefs.ErrInvalidArgument)
		default:
			err = s.Mount(r.Context(), q)
		}
		s.done(w, r, err)
	})
	mux.HandleFunc("DELETE "+client.MountsPath+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, r, s.Unmount(r.Context(), r.PathValue("id")))
	})
	return mux
}

// done answers a request that has no other answer.
func (s *Server) done(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.log.WithFields(log.Fields{"request": r.Method + " " + r.URL.Path}).WithError(err).Warn("refused")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(client.StatusOf(err))
	_ = json.NewEncoder(w).Encode(client.Refusal{Message: err.Error()}) // or the client has gone
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // or the client has gone
}
