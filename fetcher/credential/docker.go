package credential

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
)

// helperLife is how long the answer of a docker credential helper is used: the helpers
// that hand out short-lived passwords keep them for minutes at least.
const helperLife = time.Minute

// docker is the Source of a docker config file.
type docker struct {
	path    string
	timeout time.Duration
	file    *reread[*dockerFile]
}

func newDocker(path string, timeout time.Duration) *docker {
	return &docker{path: path, timeout: timeout, file: &reread[*dockerFile]{
		list: ifThere(path),
		parse: func(contents [][]byte) (*dockerFile, error) {
			if len(contents) == 0 {
				return &dockerFile{}, nil
			}
			return parseDocker(contents[0])
		},
	}}
}

// Authorization implements Source. A helper is asked first, as docker does; what it
// does not know may stand in the file.
func (d *docker) Authorization(ctx context.Context, registry, repository string) (string, error) {
	p, err := placeOf(registry, repository)
	if err != nil {
		return "", err
	}
	f, err := d.file.get()
	if err != nil {
		return "", fmt.Errorf("docker config %s: %w", d.path, err)
	}
	var failed error
	if name, server := f.helper(p.registry); name != "" {
		l, err := f.answers.get(ctx, func(ctx context.Context) (answer[login], error) {
			l, err := d.ask(ctx, name, server)
			return answer[login]{l, name + " " + server, helperLife}, err
		}, name+" "+server)
		if value := l.authorization(); err == nil && value != "" {
			return value, nil
		}
		failed = err
	}
	if l, _, ok := f.ring.find(p.image()); ok {
		return l.authorization(), nil
	}
	if failed != nil {
		return "", fmt.Errorf("docker config %s: %w", d.path, failed)
	}
	return "", nil
}

// notFound is what helpers print, and fail, where they know no login for a registry.
const notFound = "credentials not found in native keychain"

// ask runs a docker credential helper. No login is the zero one.
func (d *docker) ask(ctx context.Context, name, server string) (login, error) {
	out, err := run(ctx, program{
		path: "docker-credential-" + name, args: []string{"get"}, env: d.environment(),
		stdin: []byte(server), timeout: d.timeout,
	})
	if err != nil {
		if string(bytes.TrimSpace(out)) == notFound {
			return login{}, nil
		}
		return login{}, err
	}
	l, err := parseHelper(out)
	if err != nil {
		return login{}, fmt.Errorf("docker-credential-%s: %w: %w", name, err, errdefs.ErrUnavailable)
	}
	return l, nil
}

// environment is this process's own. Under systemd it may lack HOME, where many helpers
// keep their settings: then it is the one that the config file lies in.
func (d *docker) environment() []string {
	env := os.Environ()
	if os.Getenv("HOME") == "" && filepath.Base(filepath.Dir(d.path)) == ".docker" {
		env = append(env, "HOME="+filepath.Dir(filepath.Dir(d.path)))
	}
	return env
}
