package credential

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/darter-p2p/darter/internal/config"
)

// Config says where this node's credentials are.
type Config struct {
	DockerConfig   []string        `toml:"docker_config" doc:"Docker config files, asked in this order: auths, credHelpers, credsStore. They are read again when they change; one that is missing holds nothing."`
	ProviderConfig string          `toml:"provider_config" doc:"The kubelet's --image-credential-provider-config, a file or a directory. Empty asks no credential providers."`
	ProviderBin    string          `toml:"provider_bin" doc:"The kubelet's --image-credential-provider-bin-dir."`
	Timeout        config.Duration `toml:"timeout" doc:"Longest run of a credential helper or provider."`
}

// Default reads what docker and the kubelet read on a node, and asks no providers.
func Default() Config {
	return Config{
		DockerConfig: []string{"/root/.docker/config.json", "/var/lib/kubelet/config.json"},
		Timeout:      config.Duration(10 * time.Second),
	}
}

// Validate reports every setting that cannot work, by its key. It reads no file.
func (c Config) Validate() error {
	var errs []error
	absolute := func(key, path string) {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s: %q, want an absolute path", key, path))
		}
	}
	for _, path := range c.DockerConfig {
		absolute("docker_config", path)
	}
	if c.ProviderConfig != "" {
		absolute("provider_config", c.ProviderConfig)
	}
	if c.ProviderBin != "" {
		absolute("provider_bin", c.ProviderBin)
	}
	if (c.ProviderConfig == "") != (c.ProviderBin == "") {
		errs = append(errs, errors.New("provider_config and provider_bin go together"))
	}
	if d := c.Timeout; d <= 0 || d > config.Duration(time.Minute) {
		errs = append(errs, fmt.Errorf("timeout: %v, want more than 0 and at most 1m", d))
	}
	return errors.Join(errs...)
}

// Node returns what this node knows on its own: the docker config files in their
// order, then the kubelet's credential providers. failed is as for First.
func Node(c Config, failed func(context.Context, error)) (Source, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	var sources []Source
	for _, path := range c.DockerConfig {
		sources = append(sources, newDocker(path, c.Timeout.Duration()))
	}
	if c.ProviderConfig != "" {
		sources = append(sources, newKubelet(c.ProviderConfig, c.ProviderBin, c.Timeout.Duration()))
	}
	return First(failed, sources...), nil
}
