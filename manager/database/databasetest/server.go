// Package databasetest starts real Postgres and MariaDB servers for tests, from the
// programs that Debian's postgresql and mariadb-server install: in a temporary
// directory, on a Unix socket only, as a user who is not root, and without fsync.
package databasetest

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/darter-p2p/darter/manager/database"
)

// startTimeout is how long a server may take to be ready, on a machine that others use.
const startTimeout = 2 * time.Minute

// Server is a database server that ends with its test.
type Server struct {
	kind  database.Kind
	dir   string
	count atomic.Int64
}

// SQLite returns the configuration of a database that is not there yet.
func SQLite(t testing.TB) database.Config {
	t.Helper()
	c := database.Default()
	c.Path = filepath.Join(t.TempDir(), "manager.db")
	return c
}

// Postgres starts a server. Where it is not installed the test is skipped, but fails in CI.
func Postgres(t testing.TB) *Server {
	t.Helper()
	bin := newest("/usr/lib/postgresql/*/bin/postgres")
	if bin == "" {
		missing(t, "postgresql")
	}
	dir, as := home(t, "postgres")
	data := filepath.Join(dir, "data")
	runAs(t, as, filepath.Join(filepath.Dir(bin), "initdb"), "-D", data, "-U", "darter", "-A", "trust", "-E", "UTF8",
		"--locale=C.UTF-8", "--no-sync", "--no-instructions")
	start(t, as, "database system is ready to accept connections", syscall.SIGINT, bin, "-D", data, "-k", dir, "-h", "",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=120")
	return &Server{kind: database.Postgres, dir: dir}
}

// MariaDB starts a server. Where it is not installed the test is skipped, but fails in CI.
func MariaDB(t testing.TB) *Server {
	t.Helper()
	bin := newest("/usr/sbin/mariadbd")
	if bin == "" {
		missing(t, "mariadb-server")
	}
	dir, as := home(t, "mysql")
	data := filepath.Join(dir, "data")
	runAs(t, as, "/usr/bin/mariadb-install-db", "--no-defaults", "--datadir="+data, "--skip-test-db",
		"--auth-root-authentication-method=normal", "--skip-name-resolve")
	start(t, as, "ready for connections", syscall.SIGTERM, bin, "--no-defaults", "--datadir="+data, "--socket="+dir+"/s",
		"--pid-file="+dir+"/pid", "--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
		"--character-set-server=utf8mb4")
	return &Server{kind: database.MySQL, dir: dir}
}

// Fresh makes an empty database and returns its configuration.
func (s *Server) Fresh(t testing.TB) database.Config {
	t.Helper()
	name := "db" + strconv.FormatInt(s.count.Add(1), 10)
	driver, at := "pgx", func(name string) string {
		return fmt.Sprintf("postgres:///%s?host=%s&user=darter&sslmode=disable", name, s.dir)
	}
	admin := "postgres"
	if s.kind == database.MySQL {
		driver, admin = "mysql", "mysql"
		at = func(name string) string { return fmt.Sprintf("root@unix(%s/s)/%s", s.dir, name) }
	}
	db, err := sql.Open(driver, at(admin))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatalf("create database: %v", err)
	}
	c := database.Default()
	c.Kind, c.Path, c.DSN = s.kind, "", at(name)
	return c
}

// newest returns the last of the files that a pattern matches.
func newest(pattern string) string {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return found[len(found)-1]
}

func missing(t testing.TB, pkg string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", pkg)
	}
	t.Skipf("%s is not installed", pkg)
}

// home makes a directory with a short path, for sockets, that belongs to whoever runs
// the server: the given user if we are root, who may not.
func home(t testing.TB, name string) (dir string, as *syscall.Credential) {
	t.Helper()
	dir, err := os.MkdirTemp("", "darter-db-") //nolint:usetesting // t.TempDir is too long for a socket and closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatalf("user %s: %v, %v", name, err1, err2)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func command(ctx context.Context, as *syscall.Credential, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func runAs(t testing.TB, as *syscall.Credential, program string, args ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), startTimeout)
	defer stop()
	runtime.LockOSThread() // the death signal is for the end of the thread that started it
	defer runtime.UnlockOSThread()
	if out, err := command(ctx, as, program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

// start runs a server until the test ends and returns when it has said that it is ready.
func start(t testing.TB, as *syscall.Credential, ready string, stop os.Signal, program string, args ...string) {
	t.Helper()
	read, write := io.Pipe()
	cmd := command(context.Background(), as, program, args...)
	cmd.Stdout, cmd.Stderr = write, write
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
		}
		ended <- errors.Join(err, write.Close())
	}()
	up, said := make(chan struct{}), make(chan string, 1)
	go func() { // reads to the end, so that the server can always write
		var text strings.Builder
		open := true
		for lines := bufio.NewScanner(read); lines.Scan(); {
			fmt.Fprintln(&text, lines.Text())
			if open && strings.Contains(lines.Text(), ready) {
				open = false
				close(up)
			}
		}
		if _, err := io.Copy(io.Discard, read); err != nil {
			fmt.Fprintln(&text, err)
		}
		said <- text.String()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(program)
	select {
	case <-up:
	case err := <-ended:
		t.Fatalf("%s ended: %v\n%s", name, err, <-said)
	case <-time.After(startTimeout):
		kill := cmd.Process.Kill()
		t.Fatalf("%s is not ready after %v (%v, %v)\n%s", name, startTimeout, kill, <-ended, <-said)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(stop); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if text := <-said; err != nil || t.Failed() {
				t.Logf("%s: %v\n%s", name, err, text)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not stop: %v", name, cmd.Process.Kill())
		}
	})
}
