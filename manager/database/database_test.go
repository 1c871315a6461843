package database_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/database/databasetest"
)

func TestMain(m *testing.M) {
	cutWhereAsked()
	goleak.VerifyTestMain(m)
}

// suite is what holds on every database.
var suite = map[string]func(*testing.T, open){
	"clusters":          testClusters,
	"names":             testNames,
	"list":              testList,
	"members":           testMembers,
	"configurations":    testConfigurations,
	"one writes a time": testConfigurationRace,
	"users":             testUsers,
	"last root":         testLastRoot,
	"roles":             testRoles,
	"tokens":            testTokens,
	"audits":            testAudits,
	"claims":            testClaims,
	"leases":            testLeases,
	"job ends":          testJobEnds,
	"items":             testItems,
	"job rate":          testJobRate,
	"migrations":        testMigrations,
	"providers":         testProviders,
	"subjects":          testSubjects,
	"join tokens":       testJoinTokens,
	"certificates":      testCertificates,
	"join races":        testJoinRaces,
	"authorities":       testAuthorities,
}

// open opens the same database again and again.
type open func(*testing.T) *database.Store

func TestSQLite(t *testing.T) {
	runSuite(t, func(t *testing.T) database.Config { return databasetest.SQLite(t) })
}

func TestPostgres(t *testing.T) {
	server := databasetest.Postgres(t)
	runSuite(t, func(t *testing.T) database.Config { return server.Fresh(t) })
}

func TestMariaDB(t *testing.T) {
	server := databasetest.MariaDB(t)
	runSuite(t, func(t *testing.T) database.Config { return server.Fresh(t) })
}

func runSuite(t *testing.T, fresh func(*testing.T) database.Config) {
	t.Run("newer schema", func(t *testing.T) { testNewer(t, fresh(t)) })
	t.Run("migration cut", func(t *testing.T) { testCut(t, fresh) })
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			c := fresh(t)
			test(t, func(t *testing.T) *database.Store {
				t.Helper()
				s, err := database.Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
				return s
			})
		})
	}
}

// now is any moment; ticks after it are its milliseconds.
var now = time.Date(2026, 11, 21, 12, 0, 0, 123_456_789, time.UTC)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails unless an error is of a class.
func want(t *testing.T, is func(error) bool, err error) {
	t.Helper()
	if !is(err) {
		t.Errorf("error %v, which is of another class", err)
	}
}

func TestConfig(t *testing.T) {
	if err := database.Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []database.Config{
		{},
		{Kind: database.SQLite, Connections: 1},
		{Kind: database.Postgres, Path: "x", Connections: 1},
		{Kind: "oracle", DSN: "x", Connections: 1},
		{Kind: database.SQLite, Path: "x"},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
