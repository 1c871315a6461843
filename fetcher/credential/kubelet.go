package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// kubelet is the Source of the kubelet's credential providers: exec plugins that answer
// for an image, by the protocol credentialprovider.kubelet.k8s.io.
type kubelet struct {
	path    string // of the configuration
	bin     string // folder of the plugins
	timeout time.Duration
	file    *reread[[]*provider]
}

func newKubelet(path, bin string, timeout time.Duration) *kubelet {
	return &kubelet{path: path, bin: bin, timeout: timeout, file: &reread[[]*provider]{
		list: fileOrFolder(path), parse: parseProviders,
	}}
}

// Authorization implements Source. As in the kubelet, every provider that handles the
// image is asked, and the login under the most specific key counts; of two the same,
// that of the earlier provider.
func (k *kubelet) Authorization(ctx context.Context, registry, repository string) (string, error) {
	p, err := placeOf(registry, repository)
	if err != nil {
		return "", err
	}
	all, err := k.file.get()
	if err != nil {
		return "", fmt.Errorf("credential providers of %s: %w", k.path, err)
	}
	image := p.image()
	var best login
	var bestKey string
	var errs []error
	for _, provider := range all {
		if !provider.handles(image) {
			continue
		}
		ring, err := k.ask(ctx, provider, image)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("credential provider %s: %w", provider.name, err))
			continue
		}
		if l, key, ok := ring.find(image); ok && key > bestKey {
			best, bestKey = l, key
		}
	}
	if value := best.authorization(); value != "" {
		return value, nil
	}
	return "", errors.Join(errs...)
}

// ask returns what a provider answers about an image, or has answered.
func (k *kubelet) ask(ctx context.Context, p *provider, image string) (keyring, error) {
	registry, _, _ := strings.Cut(image, "/")
	return p.answers.get(ctx, func(ctx context.Context) (answer[keyring], error) {
		out, err := run(ctx, program{
			path: filepath.Join(k.bin, p.name), args: p.args, env: append(os.Environ(), p.env...),
			stdin: p.request(image), timeout: k.timeout,
		})
		if err != nil {
			return answer[keyring]{}, err
		}
		a, err := p.parse(out, image)
		if err != nil {
			return answer[keyring]{}, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
		}
		return a, nil
	}, image, registry, globalKey)
}
