package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/darter-p2p/darter/integration/lab"
	"github.com/darter-p2p/darter/integration/lab/image"
)

// recipe is the image of the demo: at least 500 MB.
var recipe = image.Recipe{Layers: 7, Bytes: 520 << 20, Compression: image.Gzip}

// repository is the image's name in the lab's registry.
const repository = "demo/image:1"

// pushImage puts the image into the lab's registry: the one that is named, else
// one from this machine's files.
func pushImage(ctx context.Context, registry *lab.Registry, named string, out io.Writer) (lab.Image, error) {
	if named == "" {
		fmt.Fprintln(out, "image: from this machine's files (built once, then cached)")
		return registry.BuildAndPush(ctx, recipe, repository)
	}
	if _, err := os.Stat(filepath.Join(named, "oci-layout")); err == nil {
		fmt.Fprintf(out, "image: the OCI layout %s\n", named)
		return registry.PushLayout(ctx, named, repository)
	}
	ref, err := name.ParseReference(named)
	if err != nil {
		return lab.Image{}, fmt.Errorf("IMAGE=%s is neither the folder of an OCI layout nor an image reference: %w", named, err)
	}
	fmt.Fprintf(out, "image: %s\n", ref)
	source, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return lab.Image{}, fmt.Errorf("IMAGE=%s: %w", named, err)
	}
	return registry.Push(ctx, source, repository)
}
