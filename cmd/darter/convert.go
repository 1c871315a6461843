package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/darter-p2p/darter/internal/process"
	"github.com/darter-p2p/darter/plugin/rafs/convert"
	"github.com/darter-p2p/darter/plugin/rafs/convert/oci"
)

func convertCommand() *cobra.Command {
	var chunk, list string
	var quiet bool
	o := oci.Options{Convert: convert.Default()}
	c := &cobra.Command{
		Use:   "convert SRC DST",
		Short: "Make a Nydus image of an ordinary one, for lazy starts",
		Long: `convert reads the ordinary image SRC and writes the Nydus image (RAFS v6) DST, whose
containers start before their files are there. SRC and DST are image references, or
oci:PATH[:TAG] for an OCI layout. Credentials are those of docker login and podman login.

Each layer becomes a blob, so that images that share layers share blobs; the last layer is
the bootstrap, with all files' names. The same image gives the same bytes. The digest
reference of what was written is printed.

With --beside DST becomes an index: all that SRC has, and the Nydus image with the OS
feature nydus.remoteimage.v1. DST may be SRC: then the tag is moved to the index.

With --prefetch, or --prefetch-from, the bootstrap says which files are read first: nodes
fetch them as soon as the image is mounted. A folder stands for all below it.

Exit codes: 0 done; 1 failed; 2 wrong arguments; 4 there is no such image, or none for the
platform; 5 the registry wants another credential (401, 403); 6 a layer is not what its
digest says; 7 the registry does not answer or fails; 8 the disk is full.`,
		Example: `  darter convert registry.example.com/app:1 registry.example.com/app:1-nydus
  darter convert registry.example.com/app:1 registry.example.com/app:1 --beside
  darter convert docker.io/library/golang:1.26 oci:/tmp/golang --chunk-size 256KiB
  darter convert app:1 app:1-nydus --prefetch /usr/bin/app --prefetch /etc/app`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			size, err := parseChunkSize(chunk)
			if err != nil {
				return fmt.Errorf("--chunk-size: %w (see darter convert --help): %w", err, errdefs.ErrInvalidArgument)
			}
			o.Convert.ChunkSize = size
			if list != "" {
				names, err := readNames(list, c.InOrStdin())
				if err != nil {
					return fmt.Errorf("--prefetch-from: %w: %w", err, errdefs.ErrInvalidArgument)
				}
				o.Convert.Prefetch = append(o.Convert.Prefetch, names...)
			}
			if err := oci.Check(args[0], args[1], o); err != nil {
				return fmt.Errorf("%w (see darter convert --help)", err)
			}
			if !quiet {
				o.Progress = &convertProgress{out: c.ErrOrStderr(), source: args[0], bar: isTerminal(c.ErrOrStderr())}
			}
			return runConvert(c.Context(), c.OutOrStdout(), args[0], args[1], o)
		},
	}
	f := c.Flags()
	f.StringVar(&chunk, "chunk-size", "1MiB", "parts that files are cut into: a power of two from 64KiB to 1MiB")
	f.StringArrayVar(&o.Convert.Prefetch, "prefetch", nil, "path in the image that is read first; may be given several times, the first first")
	f.StringVar(&list, "prefetch-from", "", "file with such paths, one a line, as from a trace; - is the standard input")
	f.StringVar(&o.Platform, "platform", "linux/"+runtime.GOARCH, "platform to convert")
	f.BoolVar(&o.Beside, "beside", false, "write an index with the ordinary image and the Nydus image")
	f.BoolVar(&o.PlainHTTP, "plain-http", false, "speak http with the registries; with those on loopback it always is")
	f.StringVar(&o.WorkDir, "work-dir", "", "folder for the blobs until they are written to DST (default $TMPDIR or /var/tmp)")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the digest reference only")
	return c
}

// runConvert converts and prints the reference of what was written.
func runConvert(ctx context.Context, out io.Writer, src, dst string, o oci.Options) error {
	started := time.Now()
	report, err := oci.Run(ctx, src, dst, o)
	if p, ok := o.Progress.(*convertProgress); ok {
		p.end(report, time.Since(started))
	}
	if err != nil {
		return convertFailure(ctx, err)
	}
	fmt.Fprintln(out, report.Reference)
	return nil
}

// readNames reads a list of paths, one a line.
func readNames(path string, stdin io.Reader) ([]string, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxNames+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxNames {
		return nil, fmt.Errorf("%s is longer than %s", path, size(maxNames))
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name := strings.TrimRight(line, "\r\n"); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// maxNames bounds the list of paths to prefetch, in bytes.
const maxNames = 64 << 20

// parseChunkSize reads a size such as 256KiB, or bytes.
func parseChunkSize(s string) (int, error) {
	digits, unit := s, 1
	for suffix, n := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = rest, n
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n <= 0 || n > convert.MaxChunkSize {
		return 0, fmt.Errorf("%q is not a size from 64KiB to 1MiB", s)
	}
	n *= unit
	if n < convert.MinChunkSize || n > convert.MaxChunkSize || n&(n-1) != 0 {
		return 0, fmt.Errorf("%q is not a power of two from 64KiB to 1MiB", s)
	}
	return n, nil
}

// convertFailure gives an error its exit code. What is wrong with an image is no usage
// error, and darterd has no part in this.
func convertFailure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return &failure{process.ExitFailure, errors.New("interrupted")}
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return &failure{exitUnauthorized, err}
	case errdefs.IsNotFound(err):
		return &failure{process.ExitNotFound, err}
	case errdefs.IsDataLoss(err):
		return &failure{exitDigest, err}
	case errdefs.IsUnavailable(err):
		return &failure{exitOrigin, err}
	}
	return diskError(err)
}

// convertProgress tells a person how far the conversion is.
type convertProgress struct {
	out    io.Writer
	source string
	bar    bool
	read   int64
	drawn  progress
}

// Layers implements oci.Progress.
func (p *convertProgress) Layers(n int, bytes int64) {
	fmt.Fprintf(p.out, "darter: %s: %d layers, %s\n", printable(p.source), n, size(bytes))
	p.drawn.out = p.out
	if p.bar {
		p.drawn.begin(0, bytes, p.source)
	}
}

// Read implements oci.Progress.
func (p *convertProgress) Read(n int) {
	p.read += int64(n)
	if p.bar {
		p.drawn.at(p.read)
	}
}

// Put implements oci.Progress.
func (p *convertProgress) Put(made *convert.Image) {
	p.drawn.end()
	for i, l := range made.Layers {
		if l.Blob < 0 {
			fmt.Fprintf(p.out, "darter: layer %d: %d entries, no new bytes\n", i+1, l.Entries)
			continue
		}
		b := made.Blobs[l.Blob]
		fmt.Fprintf(p.out, "darter: layer %d: %d entries, %s; blob of %d chunks, %s\n", i+1, l.Entries, size(l.Bytes), l.Chunks, size(b.Size))
	}
	if made.Prefetch > 0 || len(made.Absent) > 0 {
		fmt.Fprintf(p.out, "darter: %d paths are read first", made.Prefetch)
		if len(made.Absent) > 0 {
			fmt.Fprintf(p.out, "; the image has no %s, and misses %d in all", printable(made.Absent[0]), len(made.Absent))
		}
		fmt.Fprintln(p.out)
	}
	fmt.Fprintf(p.out, "darter: write %d files and %d blobs\n", made.Inodes, len(made.Blobs))
}

func (p *convertProgress) end(r *oci.Report, took time.Duration) {
	p.drawn.end()
	if r != nil {
		fmt.Fprintf(p.out, "darter: %s of layers became %s of blobs and a bootstrap of %s, in %s\n",
			size(r.Read), size(r.Blobs), size(r.Bootstrap), span(took))
	}
}
