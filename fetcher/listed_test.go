package fetcher

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/fetcher/source"
	"github.com/darter-p2p/darter/fetcher/source/sourcetest"
	"github.com/darter-p2p/darter/p2p"
)

// members is a registry that gives manifests to those who show a credential.
type members struct{ source.Source }

func (m members) refuse(r source.Request) error {
	if strings.Contains(string(r.Origin), "/manifests/") && r.Header.Get("Authorization") == "" {
		return &source.Error{Status: http.StatusUnauthorized, Host: "registry.test"}
	}
	return nil
}

func (m members) Open(ctx context.Context, r source.Request) (*source.Response, error) {
	if err := m.refuse(r); err != nil {
		return nil, err
	}
	return m.Source.Open(ctx, r)
}

func (m members) Stat(ctx context.Context, r source.Request) (*source.Response, error) {
	if err := m.refuse(r); err != nil {
		return nil, err
	}
	return m.Source.Stat(ctx, r)
}

// What a reader's credential opens is not remembered as everybody's, where he is tried as
// one who shows none.
func TestListedIsAskedAsTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := digest.FromString("a blob that the registry has lost")
		text, err := json.Marshal(ocispec.Manifest{Layers: []ocispec.Descriptor{{Digest: blob}}})
		if err != nil {
			t.Fatal(err)
		}
		task, err := p2p.TaskOfDigest(blob)
		if err != nil {
			t.Fatal(err)
		}
		manifest := Content{Registry: "registry.test", Repository: "app", Kind: Manifest, Digest: digest.FromBytes(text)}
		origin := sourcetest.NewMemory()
		origin.Put(manifest.place(manifest.Digest.String()), sourcetest.Content{Data: text})
		l, err := New(Default(), silent{}, members{origin}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		him := wish{
			task: task, origin: registry.Origin("registry.test", "app", registry.Blobs, blob.String()),
			header: http.Header{"Authorization": {"Bearer his"}}, listed: manifest,
		}
		stranger := him.anonymous()
		if err := l.openTo(t.Context(), stranger, nil); !errdefs.IsNotFound(err) {
			t.Errorf("as a stranger: %v", err)
		}
		if err := l.openTo(t.Context(), him, nil); err != nil {
			t.Errorf("with his credential: %v", err)
		}
		if err := l.openTo(t.Context(), stranger, nil); !errdefs.IsNotFound(err) {
			t.Errorf("a stranger after him: %v", err)
		}
	})
}
