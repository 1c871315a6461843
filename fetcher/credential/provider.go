package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/darter-p2p/darter/fetcher/source"
)

// provider is an exec plugin of the kubelet's CredentialProviderConfig.
type provider struct {
	name        string
	apiVersion  string
	matchImages []string
	life        time.Duration // of answers that say none; 0 = they are not kept
	args        []string
	env         []string // name=value
	// account says that it answers only for a pod's service account, which this node cannot speak for.
	account bool
	answers *memo[keyring]
}

// Versions of the exec protocol; what darter uses of it is the same in all.
func apiVersions() []string {
	const group = "credentialprovider.kubelet.k8s.io/"
	return []string{group + "v1", group + "v1beta1", group + "v1alpha1"}
}

// parseProviders reads CredentialProviderConfig files, YAML or JSON, in their order.
func parseProviders(files [][]byte) ([]*provider, error) {
	var all []*provider
	for _, b := range files {
		some, err := parseProviderFile(b)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	seen := map[string]bool{}
	for _, p := range all {
		if seen[p.name] {
			return nil, fmt.Errorf("provider %q is there twice", p.name)
		}
		seen[p.name] = true
	}
	if len(all) == 0 {
		return nil, errors.New("no providers")
	}
	return all, nil
}

func parseProviderFile(b []byte) ([]*provider, error) {
	var c struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Providers  []providerText `json:"providers"`
	}
	text, err := toJSON(b)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, errNotConfig
	}
	if c.Kind != "CredentialProviderConfig" || !strings.HasPrefix(c.APIVersion, "kubelet.config.k8s.io/") {
		return nil, errNotConfig
	}
	var all []*provider
	for i, t := range c.Providers {
		p, err := t.provider()
		if err != nil {
			return nil, fmt.Errorf("provider %d (%q): %w", i+1, source.Clip(t.Name), err)
		}
		all = append(all, p)
	}
	return all, nil
}

var errNotConfig = errors.New("not a CredentialProviderConfig of kubelet.config.k8s.io")

// toJSON returns a YAML file as JSON, and JSON as it is.
func toJSON(b []byte) ([]byte, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return b, nil
	}
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, errNotConfig // the cause may quote a value
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, errNotConfig
	}
	return out, nil
}

// providerText is a provider as files have it.
type providerText struct {
	Name                 string   `json:"name"`
	MatchImages          []string `json:"matchImages"`
	DefaultCacheDuration *string  `json:"defaultCacheDuration"`
	APIVersion           string   `json:"apiVersion"`
	Args                 []string `json:"args"`
	Env                  []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	TokenAttributes *struct {
		RequireServiceAccount *bool `json:"requireServiceAccount"`
	} `json:"tokenAttributes"`
}

func (t providerText) provider() (*provider, error) {
	if !safeName(t.Name) {
		return nil, errors.New("name: not a program's name")
	}
	if !slices.Contains(apiVersions(), t.APIVersion) {
		return nil, fmt.Errorf("apiVersion: %q, want one of %s", source.Clip(t.APIVersion), strings.Join(apiVersions(), ", "))
	}
	if len(t.MatchImages) == 0 {
		return nil, errors.New("matchImages: empty, want at least one")
	}
	for _, m := range t.MatchImages {
		if _, err := parsePattern(m); err != nil {
			return nil, fmt.Errorf("matchImages: %q is not host[:port][/path]", source.Clip(m))
		}
	}
	if t.DefaultCacheDuration == nil {
		return nil, errors.New("defaultCacheDuration: missing")
	}
	life, err := time.ParseDuration(*t.DefaultCacheDuration)
	if err != nil || life < 0 {
		return nil, errors.New("defaultCacheDuration: want a duration such as 12h, 0 or more")
	}
	p := &provider{
		name: t.Name, apiVersion: t.APIVersion, matchImages: t.MatchImages, life: life, args: t.Args,
		account: t.TokenAttributes != nil && (t.TokenAttributes.RequireServiceAccount == nil || *t.TokenAttributes.RequireServiceAccount),
		answers: newMemo[keyring](),
	}
	for _, e := range t.Env {
		p.env = append(p.env, e.Name+"="+e.Value)
	}
	return p, nil
}

// handles reports whether the provider is asked for an image.
func (p *provider) handles(image string) bool {
	return !p.account && slices.ContainsFunc(p.matchImages, func(m string) bool { return matches(m, image) })
}

// request makes the question that a provider reads.
func (p *provider) request(image string) []byte {
	// Three strings always encode.
	b, _ := json.Marshal(struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Image      string `json:"image"`
	}{"CredentialProviderRequest", p.apiVersion, image})
	return b
}

// Keys that answers are kept under, beside the image and the registry.
const globalKey = "*"

// parse reads a provider's answer about an image. Its errors hold nothing of the answer.
func (p *provider) parse(b []byte, image string) (answer[keyring], error) {
	var a struct {
		Kind          string  `json:"kind"`
		APIVersion    string  `json:"apiVersion"`
		CacheKeyType  string  `json:"cacheKeyType"`
		CacheDuration *string `json:"cacheDuration"`
		Auth          map[string]struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return answer[keyring]{}, errors.New("the answer is no JSON of the protocol")
	}
	if a.Kind != "CredentialProviderResponse" || a.APIVersion != p.apiVersion {
		return answer[keyring]{}, errors.New("the answer is no CredentialProviderResponse of the apiVersion that was asked")
	}
	out := answer[keyring]{life: p.life}
	switch a.CacheKeyType {
	case "Image":
		out.key = image
	case "Registry":
		out.key, _, _ = strings.Cut(image, "/")
	case "Global":
		out.key = globalKey
	default:
		return answer[keyring]{}, errors.New("the answer's cacheKeyType is none of Image, Registry and Global")
	}
	if a.CacheDuration != nil {
		life, err := time.ParseDuration(*a.CacheDuration)
		if err != nil {
			return answer[keyring]{}, errors.New("the answer's cacheDuration is no duration")
		}
		out.life = life
	}
	logins := map[string]login{}
	for place, l := range a.Auth {
		logins[place] = login{user: l.Username, password: l.Password}
	}
	out.value = newKeyring(logins)
	return out, nil
}
