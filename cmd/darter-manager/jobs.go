package main

import (
	"crypto/rand"
	"net/http"
	"path/filepath"

	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/harbor"
	"github.com/darter-p2p/darter/manager/jobs"
)

// works are the jobs and those who ask for them.
type works struct {
	seals  *jobs.Sealer
	worker *jobs.Worker
	harbor http.Handler
}

// newWorks wires the jobs over the database.
func newWorks(cfg *Config, id *pki.Identity, store *database.Store, guard *access.Guard) (*works, error) {
	key, err := jobs.LoadKey(filepath.Join(cfg.Data, "jobs.key"))
	if err != nil {
		return nil, err
	}
	w := &works{}
	if w.seals, err = jobs.NewSealer(key); err != nil {
		return nil, err
	}
	holder := id.Name().Name + "-" + rand.Text() // another at each start
	if w.worker, err = jobs.NewWorker(jobs.Default(), holder, store, jobs.Members{Store: store}, jobs.Connect(id), w.seals); err != nil {
		return nil, err
	}
	w.harbor = harbor.New(cfg.Harbor, harbor.Options{
		Jobs: harbor.Rows{Store: store}, Access: harbor.Guarded{Guard: guard}, Sealer: w.seals, Wake: w.worker.Wake,
	})
	return w, nil
}

// mount puts Harbor's paths beside the others.
func (w *works) mount(mux *http.ServeMux) {
	for _, path := range []string{"/_ping", "/preheats", "/preheats/", "/oapi/v1/"} {
		mux.Handle(path, w.harbor)
	}
}
