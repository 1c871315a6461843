package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
)

// getter downloads one URL to one file.
type getter struct {
	socket, url, output string
	tag, application    string
	digest              string
	headers             []string
	resume, quiet       bool

	said     string // the content's digest as the seed computed it; "" = not said
	progress *progress
	notes    io.Writer
	out      io.Writer // nil = the digest is not printed
}

func getCommand() *cobra.Command {
	g := &getter{}
	c := &cobra.Command{
		Use:   "get URL --output FILE",
		Short: "Download a file through the piece network",
		Long: `get downloads an http or https URL through this host's darterd: a content that others
of the cluster read too comes from the origin once.

The origin is asked on every get, with your URL: what it refuses is refused, and a file
that changed there is downloaded anew. With --header, or with a user in the URL, the
content is read for you alone. The output appears under its name when it is whole; its
sha256 is printed, and must be the one that the seed computed, where that is known.

With --resume a download that was broken is kept as FILE.part, with FILE.part.json beside
it, and the next get --resume goes on where it ended if the origin still has the same
content; else it begins anew.

Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 darterd is not running or does not
answer; 4 the origin has no such file; 5 the origin wants another credential (401, 403);
6 the content does not have the --digest; 7 the origin does not answer or fails; 8 the
disk is full.`,
		Example: `  darter get https://files.example.com/model.bin --output model.bin
  darter get http://[2001:db8::1]:8080/f --output f --digest sha256:9f86… --resume`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			g.url, g.notes = args[0], c.ErrOrStderr()
			if err := g.check(); err != nil {
				return fmt.Errorf("%w (see darter get --help): %w", err, errdefs.ErrInvalidArgument)
			}
			if !g.quiet {
				g.out = c.OutOrStdout()
			}
			if !g.quiet && isTerminal(g.notes) {
				g.progress = &progress{out: g.notes}
			}
			return g.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&g.socket, "socket", darterdv1.DefaultSocket, "darterd's socket")
	f.StringVarP(&g.output, "output", "o", "", "file to write (required)")
	f.StringVar(&g.digest, "digest", "", "sha256:<hex> that the content must have")
	f.StringArrayVarP(&g.headers, "header", "H", nil, `"Name: value" for the origin; may be repeated`)
	f.StringVar(&g.tag, "tag", "", "tells contents of one URL apart")
	f.StringVar(&g.application, "application", "", "tells contents of one URL apart")
	f.BoolVar(&g.resume, "resume", false, "keep what was downloaded when it breaks, and go on there")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "no progress bar and no digest")
	return c
}

// check finds what is wrong with the arguments.
func (g *getter) check() error {
	scheme, _, _ := strings.Cut(g.url, "://")
	switch {
	case !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https"):
		return errors.New("the URL begins with neither http:// nor https://")
	case g.output == "":
		return errors.New("--output is missing")
	case g.digest != "" && !strings.HasPrefix(g.digest, "sha256:"):
		return errors.New("--digest: want sha256:<64 hex digits>")
	}
	if fi, err := os.Stat(g.output); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("--output %s is not a file", g.output)
	}
	if g.digest != "" && digest.Digest(g.digest).Validate() != nil {
		return errors.New("--digest: want sha256:<64 hex digits>")
	}
	for _, h := range g.headers {
		if name, _, ok := strings.Cut(h, ":"); !ok || name == "" {
			return errors.New(`--header: want "Name: value"`)
		}
	}
	return nil
}

const (
	// getTries is how often a body that broke is asked for again for getProgress bytes.
	getTries    = 4
	getProgress = 64 << 10
	// getRestarts is how often a content that changes is begun anew.
	getRestarts = 3
)

// run downloads the file.
func (g *getter) run(ctx context.Context) error {
	p, err := openPart(g.output, g.resume, g.identity())
	if err != nil {
		return err
	}
	defer p.close()
	if p.size > 0 {
		fmt.Fprintf(g.notes, "darter: go on at %s\n", size(p.size))
	}
	if err := g.fill(ctx, p); err != nil {
		return err
	}
	got := p.digest()
	for _, want := range []string{g.digest, g.said} {
		if want != "" && got != want {
			p.discard()
			return &failure{exitDigest, fmt.Errorf("the content is %s, not %s", got, printable(want))}
		}
	}
	if err := p.finish(); err != nil || g.out == nil {
		return err
	}
	_, err = fmt.Fprintf(g.out, "%s  %s\n", got, g.output)
	return err
}

// identity is what a partial output must have been of to be gone on with.
func (g *getter) identity() string {
	return strings.Join([]string{withoutQuery(g.url), g.tag, g.application, g.digest}, "\n")
}

// fill reads until the part is whole.
func (g *getter) fill(ctx context.Context, p *part) error {
	tries, restarts := 0, 0
	var counted int64 // how much had come when the tries were last forgiven
	for {
		err := g.fetch(ctx, p)
		if g.progress != nil {
			g.progress.end()
		}
		var f *failure
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &failure{1, errors.New("interrupted")}
		case errors.Is(err, errChanged) && restarts < getRestarts:
			restarts++
			fmt.Fprintln(g.notes, "darter: the content at the origin has changed: begin anew")
			if err := p.restart(); err != nil {
				return err
			}
			continue
		case errors.As(err, &f) || !errors.Is(err, errBroken):
			return err
		}
		counted = min(counted, p.size) // it may have begun anew
		if p.size-counted >= getProgress {
			tries, counted = 0, p.size
		}
		if tries++; tries >= getTries {
			return &failure{exitOrigin, fmt.Errorf("gave up after %d tries: %w", tries, err)}
		}
		if p.validator == "" && g.digest == "" { // nothing says that the rest is of the same
			if err := p.restart(); err != nil {
				return err
			}
		}
		select {
		case <-time.After(time.Duration(tries) * 200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
