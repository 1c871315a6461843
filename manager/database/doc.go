// Package database keeps the manager's rows in SQLite, Postgres or MySQL/MariaDB by
// gorm. Open brings the schema up to date; several managers may use one Postgres or
// MySQL. What a row must keep by itself is package model's matter; what rows must
// keep together (a name that is taken, a cluster in use, a job's lease) is this one's.
//
// Errors: ErrNotFound for a row that is not there, ErrAlreadyExists for a name that is
// taken, ErrFailedPrecondition for a row that others need or a lease that is lost,
// ErrUnavailable where the database does not answer. All methods may be called
// concurrently and block on the database until their context ends.
package database
