package database

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Kind is a database system.
type Kind string

// The database systems.
const (
	SQLite   Kind = "sqlite"
	Postgres Kind = "postgres"
	MySQL    Kind = "mysql" // MariaDB, too
)

// Config says where the rows are.
type Config struct {
	Kind Kind   `toml:"kind" doc:"sqlite, postgres or mysql (MariaDB, too). SQLite needs no other service and serves one manager."`
	Path string `toml:"path" doc:"SQLite's file; its directory is made."`
	DSN  string `toml:"dsn" doc:"Where Postgres or MySQL is: \"postgres://user:password@host/name?sslmode=verify-full\" or \"user:password@tcp(host:3306)/name?tls=true\". $VARIABLES are taken from the environment."`
	// Connections bounds the pool.
	Connections int `toml:"connections" doc:"Most connections to the database at a time."`
}

// Default is SQLite in the manager's directory.
func Default() Config {
	return Config{Kind: SQLite, Path: "/var/lib/darter/manager/manager.db", Connections: 16}
}

// Validate returns the first value that cannot work.
func (c Config) Validate() error {
	switch c.Kind {
	case SQLite:
		if c.Path == "" {
			return fmt.Errorf("path: empty, want SQLite's file: %w", errdefs.ErrInvalidArgument)
		}
	case Postgres, MySQL:
		if c.DSN == "" {
			return fmt.Errorf("dsn: empty, want where %s is: %w", c.Kind, errdefs.ErrInvalidArgument)
		}
	default:
		return fmt.Errorf("kind: %q, want sqlite, postgres or mysql: %w", c.Kind, errdefs.ErrInvalidArgument)
	}
	if c.Connections < 1 || c.Connections > 1000 {
		return fmt.Errorf("connections: %d is not within 1 and 1000: %w", c.Connections, errdefs.ErrInvalidArgument)
	}
	return nil
}
