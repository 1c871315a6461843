package dropin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// dumpTimeout bounds one run of the containerd program, which only reads files.
const dumpTimeout = time.Minute

// program runs containerd with arguments, and returns what it prints.
type program func(ctx context.Context, args ...string) ([]byte, error)

// containerd is the program that the options name.
func (o Options) containerd() program {
	if o.program != nil {
		return o.program
	}
	return func(ctx context.Context, args ...string) ([]byte, error) { return run(ctx, o.Binary, args...) }
}

// dump has containerd merge the files of a configuration. It works on copies: the
// merge of files that are not written yet is seen the same way.
func dump(ctx context.Context, containerd program, all []source) (Merged, error) {
	dir, err := os.MkdirTemp("", "darter-containerd-") // 0700: the files may hold passwords
	if err != nil {
		return Merged{}, fmt.Errorf("merge containerd's configuration: %w", err)
	}
	defer os.RemoveAll(dir)
	main := filepath.Join(dir, "none", "config.toml")
	if len(all) > 0 {
		if main, err = flatten(dir, all); err != nil {
			return Merged{}, fmt.Errorf("merge containerd's configuration: %w", err)
		}
	}
	config := func(args ...string) (Merged, error) {
		text, err := containerd(ctx, args...)
		if err != nil {
			return Merged{}, err
		}
		return ParseMerged(text)
	}
	if len(all) == 0 {
		return config("config", "default")
	}
	m, err := config("--config", main, "config", "dump")
	if err == nil && m.Version() == 3 && slices.ContainsFunc(all, func(s source) bool { return versionOf(s.tree) == 2 }) {
		// containerd 2.0 to 2.2 migrates what is merged only when it starts; its dump does not.
		return config("--config", main, "config", "migrate")
	}
	return m, err
}

// flatten copies files to a directory so that the first imports all others in
// their order and these import nothing.
func flatten(dir string, all []source) (string, error) {
	var names []string
	for i := range all {
		names = append(names, filepath.Join(dir, fmt.Sprintf("%04d.toml", i)))
	}
	for i, s := range all {
		tree, err := decode(s.text) // a copy
		if err != nil {
			return "", err
		}
		if delete(tree, "imports"); i == 0 {
			tree["imports"] = names[1:]
		}
		text, err := toml.Marshal(tree)
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.path, err)
		}
		if err := os.WriteFile(names[i], text, 0o600); err != nil {
			return "", err
		}
	}
	return names[0], nil
}

// Dump returns the configuration that containerd would use if it were started now.
func Dump(ctx context.Context, binary, config string) (Merged, error) {
	all, err := view{}.sources(config)
	if err != nil {
		return Merged{}, err
	}
	return dump(ctx, Options{Binary: binary}.containerd(), all)
}

// Version returns what the containerd program says of itself, such as "2.4.2".
func Version(ctx context.Context, binary string) (string, error) {
	out, err := run(ctx, binary, "--version")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return "", fmt.Errorf("%s --version says %q: %w", binary, out, errdefs.ErrUnknown)
	}
	return strings.TrimPrefix(fields[2], "v"), nil
}

func run(ctx context.Context, binary string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("there is no containerd program %q; name it with --containerd: %w: %w", binary, err, errdefs.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}
