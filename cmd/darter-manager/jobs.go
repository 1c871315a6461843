package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/darter-p2p/darter/internal/config"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/access"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/harbor"
	"github.com/darter-p2p/darter/manager/jobs"
)

// Jobs is how the manager does jobs.
type Jobs struct {
	Parallel int             `toml:"parallel" doc:"Most jobs that this manager does at a time; others wait, or are done by managers of the same database."`
	Lease    config.Duration `toml:"lease" doc:"After this time without a word of a manager that died, another takes over its jobs; 1s to 1h."`
}

func defaultJobs() Jobs {
	d := jobs.Default()
	return Jobs{Parallel: d.Parallel, Lease: config.Duration(d.Lease)}
}

// worker returns the settings of what does the jobs.
func (j Jobs) worker() jobs.Config {
	c := jobs.Default()
	c.Parallel, c.Lease = j.Parallel, j.Lease.Duration()
	return c
}

// jobKey returns the key of the credentials of stored jobs. Managers that share a
// database need the same: it comes from the CA where they have it, else from a file in
// data, which the operator copies. A file that is there counts in any case.
func jobKey(cfg *Config) ([]byte, error) {
	file := filepath.Join(cfg.Data, "jobs.key")
	_, err := os.Stat(file)
	if !errors.Is(err, fs.ErrNotExist) || cfg.Identity.CA != "" && cfg.Join.CA == "" {
		return jobs.LoadKey(file)
	}
	ca, err := pki.LoadCA(cfg.caDir())
	if err != nil {
		return nil, fmt.Errorf("key of job credentials: %w", err)
	}
	return ca.Derive("job credentials")
}

// works are the jobs and those who ask for them.
type works struct {
	seals  *jobs.Sealer
	worker *jobs.Worker
	harbor http.Handler
	made   func(kind string, err error)
}

// newWorks wires the jobs over the database.
func newWorks(cfg *Config, id *pki.Identity, store *database.Store, guard *access.Guard, r prometheus.Registerer) (*works, error) {
	key, err := jobKey(cfg)
	if err != nil {
		return nil, err
	}
	w := &works{}
	if w.seals, err = jobs.NewSealer(key); err != nil {
		return nil, err
	}
	holder := id.Name().Name + "-" + rand.Text() // another at each start
	if w.worker, err = jobs.NewWorker(cfg.Jobs.worker(), holder, store, jobs.Members{Store: store}, jobs.Connect(id), w.seals); err != nil {
		return nil, err
	}
	counts, err := jobs.NewCounts(r)
	if err != nil {
		return nil, err
	}
	w.made = func(kind string, err error) {
		counts.Made(kind, err)
		w.worker.Wake()
	}
	w.harbor = harbor.New(cfg.Harbor, harbor.Options{
		Jobs: harbor.Rows{Store: store}, Access: harbor.Guarded{Guard: guard}, Sealer: w.seals, Made: w.made,
	})
	return w, nil
}

// mount puts Harbor's paths beside the others.
func (w *works) mount(mux *http.ServeMux) {
	for _, path := range []string{"/_ping", "/preheats", "/preheats/", "/oapi/v1/"} {
		mux.Handle(path, w.harbor)
	}
}
