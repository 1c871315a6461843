package access

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Config is how users are known.
type Config struct {
	Cost Cost `toml:"password_cost" doc:"What one hash of a password by argon2id takes. A password gets a hash of a new cost when its user signs in."`
}

// Cost is what makes passwords slow to guess.
type Cost struct {
	MemoryKiB int `toml:"memory_kib" doc:"Memory of one hash in KiB, 8 to 1048576. Two are made at a time."`
	Passes    int `toml:"passes" doc:"Passes over that memory, 1 to 100."`
}

// Default is OWASP's second choice: 19 MiB and two passes.
func Default() Config { return Config{Cost{MemoryKiB: 19 << 10, Passes: 2}} }

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	if err := c.Cost.validate(); err != nil {
		return fmt.Errorf("password_cost.%w", err)
	}
	return nil
}

func (c Cost) validate() error {
	switch {
	case c.MemoryKiB < 8 || c.MemoryKiB > 1<<20:
		return fmt.Errorf("memory_kib: %d is not within 8 and %d: %w", c.MemoryKiB, 1<<20, errdefs.ErrInvalidArgument)
	case c.Passes < 1 || c.Passes > 100:
		return fmt.Errorf("passes: %d is not within 1 and 100: %w", c.Passes, errdefs.ErrInvalidArgument)
	}
	return nil
}
