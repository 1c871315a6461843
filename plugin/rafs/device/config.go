package device

import (
	"errors"
	"fmt"
	"time"

	"github.com/darter-p2p/darter/internal/config"
)

// Config is how chunks are fetched.
type Config struct {
	MaxRequest config.Bytes    `toml:"max_request" doc:"Most compressed bytes of one request; neighbouring chunks are fetched together up to it."`
	ReadAhead  config.Bytes    `toml:"read_ahead" doc:"Most bytes fetched ahead of a sequential reader. It begins at half of what he has read. 0 is off."`
	Attempts   int             `toml:"attempts" doc:"How often a chunk is asked for before its reader gets an error, 1 to 10. The last time it is read at the registry, past the piece network."`
	Timeout    config.Duration `toml:"timeout" doc:"Longest time of one attempt."`
	Patience   config.Duration `toml:"patience" doc:"How long a reader waits for darterd to come back; then he gets an error."`
	SyncEvery  config.Duration `toml:"sync_every" doc:"How often new chunks are made sure against a power cut. What was not is fetched again."`
}

// Default suits images of containers.
func Default() Config {
	return Config{
		MaxRequest: 2 << 20,
		ReadAhead:  8 << 20,
		Attempts:   3,
		Timeout:    config.Duration(30 * time.Second),
		Patience:   config.Duration(2 * time.Minute),
		SyncEvery:  config.Duration(5 * time.Second),
	}
}

// Validate reports every setting that cannot work, by its key.
func (c Config) Validate() error {
	var errs []error
	for _, b := range []struct {
		key         string
		b           config.Bytes
		least, most config.Bytes
	}{{"max_request", c.MaxRequest, 64 << 10, 64 << 20}, {"read_ahead", c.ReadAhead, 0, 1 << 30}} {
		if b.b < b.least || b.b > b.most {
			errs = append(errs, fmt.Errorf("%s: %v, want %v to %v", b.key, b.b, b.least, b.most))
		}
	}
	if c.Attempts < 1 || c.Attempts > 10 {
		errs = append(errs, fmt.Errorf("attempts: %d, want 1 to 10", c.Attempts))
	}
	for _, d := range []struct {
		key string
		d   config.Duration
	}{{"timeout", c.Timeout}, {"patience", c.Patience}, {"sync_every", c.SyncEvery}} {
		if d.d <= 0 || d.d > config.Duration(time.Hour) {
			errs = append(errs, fmt.Errorf("%s: %v, want more than 0 and at most 1h", d.key, d.d))
		}
	}
	return errors.Join(errs...)
}
