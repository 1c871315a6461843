package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/model"
)

// testNewer opens a database that a newer darter-manager has had.
func testNewer(t *testing.T, c database.Config) {
	s, err := database.Open(t.Context(), c)
	check(t, err)
	known, err := database.Texts(t.Context(), s, `SELECT name FROM schema_migrations ORDER BY version`)
	check(t, err)
	check(t, database.Exec(t.Context(), s, `INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, '9999_future', 0)`))
	check(t, s.Close())
	_, err = database.Open(t.Context(), c)
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "9999_future") || !strings.Contains(err.Error(), known[len(known)-1]) {
		t.Errorf("a newer schema: %v", err)
	}
}

// cutVariable has a process open a database and kill itself before a statement of the
// migrations.
const cutVariable = "DARTER_TEST_CUT_MIGRATION"

// cut is what cutVariable says.
type cut struct {
	Config database.Config
	Before int // the number of the statement, from 0
}

func cutWhereAsked() {
	text := os.Getenv(cutVariable)
	if text == "" {
		return
	}
	var c cut
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		n := 0
		_, err = database.OpenStep(context.Background(), c.Config, func() {
			if n == c.Before {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			n++
		})
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(1)
}

// testCut kills a process between the statements of the migrations: the next start finishes
// them, and the schema is that of a start that was not cut.
func testCut(t *testing.T, fresh func(*testing.T) database.Config) {
	statements := 0
	whole, err := database.OpenStep(t.Context(), fresh(t), func() { statements++ })
	check(t, err)
	want := schemaOf(t, whole)
	check(t, whole.Close())
	cuts := []int{0, 1, 3, 4, statements / 2, statements - 2, statements - 1}
	slices.Sort(cuts)
	for _, before := range slices.Compact(cuts) {
		c := fresh(t)
		text, err := json.Marshal(cut{c, before})
		check(t, err)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), cutVariable+"="+string(text))
		out, err := cmd.CombinedOutput()
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("cut before statement %d: %v %s", before, err, out)
		}
		s, err := database.Open(t.Context(), c)
		if err != nil {
			t.Errorf("after a cut before statement %d: %v", before, err)
			continue
		}
		if got := schemaOf(t, s); !slices.Equal(got, want) {
			t.Errorf("after a cut before statement %d the schema is\n%v\nwant\n%v", before, got, want)
		}
		newCluster(t, s, "works")
		check(t, s.Close())
	}
}

// schemaOf names all tables, columns and indexes, and the migrations that were recorded.
func schemaOf(t *testing.T, s *database.Store) (all []string) {
	t.Helper()
	for _, statement := range append([]string{`SELECT name FROM schema_migrations ORDER BY version`}, map[database.Kind][]string{
		database.SQLite: {`SELECT CONCAT(type, ' ', name, ' ', sql) FROM sqlite_master ORDER BY 1`},
		database.Postgres: {
			`SELECT CONCAT(table_name, '.', column_name, ' ', data_type) FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1`,
			`SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`,
		},
		database.MySQL: {
			`SELECT CONCAT(table_name, '.', column_name, ' ', column_type) FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1`,
			`SELECT CONCAT(table_name, '.', index_name, ' ', seq_in_index, ' ', column_name) FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1`,
		},
	}[s.Kind()]...) {
		some, err := database.Texts(t.Context(), s, statement)
		check(t, err)
		if len(some) == 0 {
			t.Fatalf("%s: nothing", statement)
		}
		all = append(all, some...)
	}
	return all
}

// testSubjects has somebody sign in through a provider for the first time, many times at once.
func testSubjects(t *testing.T, open open) {
	s := open(t)
	check(t, s.CreateUser(t.Context(), &model.User{Name: "eve", Roles: []string{"root"}}, now))
	var wait sync.WaitGroup
	var mu sync.Mutex
	made := map[int64]string{}
	for range 6 {
		wait.Go(func() {
			u, err := s.EnsureSubject(t.Context(), &model.User{Subject: "https://a 1", Roles: []string{"guest"}}, "eve", now)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			made[u.ID] = u.Name
		})
	}
	wait.Wait()
	if len(made) != 1 {
		t.Errorf("%v, want one user", made)
	}
	other, err := s.EnsureSubject(t.Context(), &model.User{Subject: "https://b 1", Roles: []string{"guest"}}, "eve", now)
	check(t, err)
	if got, err := s.UserBySubject(t.Context(), "https://a 1"); err != nil || got.Name != "eve-2" || other.Name != "eve-3" || got.Roles[0] != "guest" {
		t.Errorf("%+v, %+v, %v", got, other, err)
	}
	check(t, s.ReplaceHash(t.Context(), other.ID, "", "x"))
	check(t, s.ReplaceHash(t.Context(), other.ID, "not it", "y"))
	if got, err := s.User(t.Context(), other.ID); err != nil || got.PasswordHash != "x" {
		t.Errorf("%+v %v", got, err)
	}
}
