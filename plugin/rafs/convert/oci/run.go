package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/darter-p2p/darter/plugin/rafs/convert"
)

// Options are what Run may be told.
type Options struct {
	// Platform is that of the image to convert, such as linux/arm64/v8. Required.
	Platform string
	// Beside puts the Nydus image into an index with all that the source has, instead of
	// alone. Who does not know Nydus takes the ordinary image.
	Beside bool
	// PlainHTTP speaks http with registries; those on loopback it does anyway.
	PlainHTTP bool
	// WorkDir is where the parts lie until they are put, "" for TMPDIR or /var/tmp. It
	// needs the room of the Nydus image.
	WorkDir string
	// Convert are the options of the conversion.
	Convert convert.Options
	// Progress is told what is done, one thing after the other. It may be nil.
	Progress Progress
}

// Progress is told what is done.
type Progress interface {
	// Layers says how many layers there are and how many bytes of them will be read.
	Layers(n int, bytes int64)
	// Read says that another n bytes of the layers were read.
	Read(n int)
	// Put says that all is converted and will now be written to its place.
	Put(made *convert.Image)
}

// Report is what was done.
type Report struct {
	Source    digest.Digest // of the ordinary image's manifest
	Digest    digest.Digest // of the Nydus image's manifest
	Reference string        // by which what was put can be asked for: the image, or the index
	Read      int64         // bytes of the ordinary image's layers
	Blobs     int64         // bytes of the blobs
	Bootstrap int64         // bytes of the bootstrap layer
	Image     *convert.Image
}

// Run converts the image at src and puts the result to dst. Both are references, or
// "oci:PATH[:TAG]" for an OCI layout. Nothing is put unless all is converted.
//
// Errors have the classes of convert.Convert and: ErrNotFound, when there is no such image
// or none for the platform; ErrUnauthenticated and ErrPermissionDenied, when the registry
// refuses; ErrUnavailable, when it does not answer or fails.
func Run(ctx context.Context, src, dst string, o Options) (*Report, error) {
	job, err := parse(src, dst, o)
	if err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = silence{}
	}
	source, err := job.from.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	ordinary, err := pick(source, job.platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src, registryError(err))
	}
	dir, err := os.MkdirTemp(workDir(o.WorkDir), "darter-convert-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	report, nydus, err := makeImage(ctx, ordinary, dir, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src, err)
	}
	o.Progress.Put(report.Image)
	result := found{image: nydus}
	if o.Beside {
		if result, err = beside(source, ordinary, nydus, job.platform); err != nil {
			return nil, fmt.Errorf("%s: index: %w", src, registryError(err))
		}
	}
	if report.Reference, err = job.to.put(ctx, result); err != nil {
		return nil, fmt.Errorf("%s: put: %w", dst, registryError(err))
	}
	return report, nil
}

// Check returns what is wrong with the arguments of Run, ErrInvalidArgument.
func Check(src, dst string, o Options) error {
	_, err := parse(src, dst, o)
	return err
}

// job is what the arguments of Run mean.
type job struct {
	from, to place
	platform v1.Platform
}

func parse(src, dst string, o Options) (job, error) {
	from, err := parsePlace(src, o.PlainHTTP)
	if err != nil {
		return job{}, err
	}
	to, err := parsePlace(dst, o.PlainHTTP)
	if err != nil {
		return job{}, err
	}
	platform, err := v1.ParsePlatform(o.Platform)
	if err != nil || platform.OS == "" || platform.Architecture == "" {
		return job{}, fmt.Errorf("platform %q: want os/architecture: %w", o.Platform, errdefs.ErrInvalidArgument)
	}
	return job{from, to, *platform}, nil
}

// workDir returns where temporary files of the size of an image go.
func workDir(dir string) string {
	if dir == "" && os.Getenv("TMPDIR") == "" {
		return "/var/tmp"
	}
	return dir
}

// makeImage converts one image.
func makeImage(ctx context.Context, ordinary v1.Image, dir string, o Options) (*Report, v1.Image, error) {
	manifest, err := ordinary.Manifest()
	if err != nil {
		return nil, nil, registryError(err)
	}
	if isNydus(manifest) {
		return nil, nil, fmt.Errorf("it is a Nydus image already: %w", errdefs.ErrInvalidArgument)
	}
	hash, err := ordinary.Digest()
	if err != nil {
		return nil, nil, registryError(err)
	}
	config, err := ordinary.RawConfigFile()
	if err != nil {
		return nil, nil, registryError(err)
	}
	parsed, err := ordinary.ConfigFile()
	if err != nil {
		return nil, nil, registryError(err)
	}
	if len(parsed.RootFS.DiffIDs) != len(manifest.Layers) {
		return nil, nil, fmt.Errorf("%d layers, the config tells of %d: %w",
			len(manifest.Layers), len(parsed.RootFS.DiffIDs), errdefs.ErrInvalidArgument)
	}
	report := &Report{Source: digest.Digest(hash.String())}
	var layers []convert.Layer
	for i, d := range manifest.Layers {
		report.Read += d.Size
		layers = append(layers, convert.Layer{
			MediaType: string(d.MediaType), DiffID: digest.Digest(parsed.RootFS.DiffIDs[i].String()),
			Open: func(ctx context.Context) (io.ReadCloser, error) { return openLayer(ctx, ordinary, d, o.Progress) },
		})
	}
	o.Progress.Layers(len(layers), report.Read)
	if report.Image, err = convert.Convert(ctx, layers, dir, o.Convert); err != nil {
		return nil, nil, registryError(err)
	}
	boot, err := packBootstrap(report.Image.Bootstrap, filepath.Join(dir, "bootstrap.tar.gz"))
	if err != nil {
		return nil, nil, registryError(err)
	}
	report.Bootstrap = boot.size
	for _, b := range report.Image.Blobs {
		report.Blobs += b.Size
	}
	nydus, err := newImage(config, report.Image, boot)
	if err != nil {
		return nil, nil, err
	}
	made, err := nydus.Digest()
	report.Digest = digest.Digest(made.String())
	return report, nydus, err
}

// openLayer reads a layer as it is in its place.
func openLayer(ctx context.Context, im v1.Image, d v1.Descriptor, p Progress) (io.ReadCloser, error) {
	l, err := im.LayerByDigest(d.Digest)
	if err != nil {
		return nil, registryError(err)
	}
	r, err := l.Compressed()
	if err != nil {
		return nil, registryError(err)
	}
	return &layerReader{ctx: ctx, ReadCloser: r, progress: p}, nil
}

// layerReader counts, and ends with its context.
type layerReader struct {
	io.ReadCloser
	ctx      context.Context
	progress Progress
}

func (l *layerReader) Read(b []byte) (int, error) {
	if l.ctx.Err() != nil {
		return 0, context.Cause(l.ctx)
	}
	n, err := l.ReadCloser.Read(b)
	l.progress.Read(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = registryError(err)
	}
	return n, err
}

// beside makes an index of the source and the Nydus image, in the place of one that was
// there for the platform.
func beside(source found, ordinary, nydus v1.Image, platform v1.Platform) (found, error) {
	index := source.index
	if index == nil {
		desc, err := partial.Descriptor(ordinary)
		if err != nil {
			return found{}, err
		}
		desc.Platform = &platform
		index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: ordinary, Descriptor: *desc})
	}
	index = mutate.RemoveManifests(index, func(d v1.Descriptor) bool {
		return isNydusEntry(d) && d.Platform != nil && d.Platform.Satisfies(platform)
	})
	desc, err := partial.Descriptor(nydus)
	if err != nil {
		return found{}, err
	}
	of, err := ordinary.Digest()
	if err != nil {
		return found{}, err
	}
	desc.Annotations = map[string]string{labelSource: of.String()} // nodes that prefer it look for that
	features := platform
	features.OSFeatures = append(append([]string{}, platform.OSFeatures...), osFeature)
	desc.Platform = &features
	return found{index: mutate.AppendManifests(index, mutate.IndexAddendum{Add: nydus, Descriptor: *desc})}, nil
}

// silence is told everything and says nothing.
type silence struct{}

func (silence) Layers(int, int64)  {}
func (silence) Read(int)           {}
func (silence) Put(*convert.Image) {}
