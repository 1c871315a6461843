package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"

	"github.com/containerd/errdefs"
	gosqlite "github.com/glebarez/go-sqlite"
	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// Codes of a name that is taken.
const (
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
	mysqlDuplicate   = 1062
	postgresUnique   = "23505"
)

// classify gives a database's error the class that callers know.
func classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var (
		lite *gosqlite.Error
		my   *mysqldriver.MySQLError
		pg   *pgconn.PgError
		conn *pgconn.ConnectError
		dial net.Error
	)
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return fmt.Errorf("no such row: %w", errdefs.ErrNotFound)
	case errors.As(err, &lite) && (lite.Code() == sqliteUnique || lite.Code() == sqlitePrimaryKey),
		errors.As(err, &my) && my.Number == mysqlDuplicate,
		errors.As(err, &pg) && pg.Code == postgresUnique:
		return fmt.Errorf("the name is taken: %w", errdefs.ErrAlreadyExists)
	case errors.As(err, &conn), errors.As(err, &dial), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, mysqldriver.ErrInvalidConn), errors.Is(err, sql.ErrConnDone):
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, err)
	}
	return err
}

// collided reports that a transaction was undone because of another, and may be
// repeated: a deadlock or a failed serialization.
func collided(err error) bool {
	var (
		my *mysqldriver.MySQLError
		pg *pgconn.PgError
	)
	switch {
	case errors.As(err, &my):
		return my.Number == 1213 || my.Number == 1205 || my.Number == 1020
	case errors.As(err, &pg):
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	return false
}
