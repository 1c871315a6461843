package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/glebarez/sqlite"
	mysqldriver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Store is the rows.
type Store struct {
	db   *gorm.DB
	kind Kind
}

// Open connects and brings the schema up to date. A database whose schema is newer
// than this program is ErrFailedPrecondition.
func Open(ctx context.Context, c Config) (*Store, error) { return open(ctx, c, func() {}) }

// open is Open; step is called before each statement that changes the schema.
func open(ctx context.Context, c Config, step func()) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	dialect, err := c.dialector()
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := gorm.Open(dialect, &gorm.Config{
		Logger:                 logger.Discard,
		SkipDefaultTransaction: true,
		TranslateError:         false, // classify does it, for all three alike
		NowFunc:                func() time.Time { return time.Now().UTC() },
	})
	if err != nil {
		return nil, fmt.Errorf("open database: %w", classify(err))
	}
	s := &Store{db: db, kind: c.Kind}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(c.Connections)
	pool.SetMaxIdleConns(c.Connections)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := s.migrate(ctx, step); err != nil {
		return nil, fmt.Errorf("bring the schema up to date: %w", errors.Join(classify(err), pool.Close()))
	}
	return s, nil
}

// Close closes every connection. No other method may run or be called after.
func (s *Store) Close() error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	if err := pool.PingContext(ctx); err != nil {
		return fmt.Errorf("ping database: %w: %w", errdefs.ErrUnavailable, err)
	}
	return nil
}

// Kind returns the database system.
func (s *Store) Kind() Kind { return s.kind }

func (c Config) dialector() (gorm.Dialector, error) {
	dsn := os.Expand(c.DSN, os.Getenv)
	switch c.Kind {
	case SQLite:
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
			return nil, err
		}
		if err := touch(c.Path); err != nil {
			return nil, err
		}
		return sqlite.Open(sqliteDSN(c.Path)), nil
	case Postgres:
		return postgres.New(postgres.Config{DSN: dsn}), nil
	case MySQL:
		m, err := mysqldriver.ParseDSN(dsn)
		if err != nil {
			return nil, fmt.Errorf("dsn: %w: %w", errdefs.ErrInvalidArgument, err)
		}
		if m.Collation == "" {
			m.Collation = "utf8mb4_bin" // literals compare as columns do
		}
		m.ClientFoundRows = true // as elsewhere, an update counts the rows it found, not those it changed
		return mysql.New(mysql.Config{DSNConfig: m}), nil
	}
	return nil, fmt.Errorf("kind %q: %w", c.Kind, errdefs.ErrInvalidArgument)
}

// touch makes a file that only the manager may read, for it holds hashes of passwords.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDSN has readers beside the one writer, which waits for its turn instead of failing.
func sqliteDSN(path string) string {
	q := url.Values{"_txlock": {"immediate"}}
	for _, pragma := range []string{"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)"} {
		q.Add("_pragma", pragma)
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) + "?" + q.Encode()
}
