// Package control is the manager's side of api/manager/v1: it knows which members are
// connected, finds each one's cluster, and tells it what is set there, at once when that
// changes. A change through another manager on the same database is found by polling.
package control
