package cluster

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher"
	"github.com/darter-p2p/darter/internal/pki"
)

// A blob that its registry has lost, and another node holds, is given to those to whom
// the registry gives a manifest of the same repository that names it.
func TestBlobGoneFromItsRegistry(t *testing.T) {
	c, v := New(t), newVault(t)
	c.Registries = v.source(t)
	v.public = []string{"public/app"}
	put := func(repository string, layers ...digest.Digest) digest.Digest {
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
		for _, d := range layers {
			m.Layers = append(m.Layers, ocispec.Descriptor{Digest: d})
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return v.put(repository, "manifests", data)
	}
	private, public := v.put("alice/app", "blobs", randomBytes(20, 2<<20)), v.put("public/app", "blobs", randomBytes(21, 2<<20))
	naming, publicly, other := put("alice/app", private), put("public/app", public), put("alice/app", public)
	seed := c.Start(pki.Seed, "seed", Options{})
	a := c.Start(pki.Node, "a", Options{})
	issue := func(repository string) string { return "Bearer " + v.issue(repository, time.Hour) } // another each time: answers are remembered
	for d, auth := range map[digest.Digest]string{private: issue("alice/app"), public: ""} {
		repository := map[bool]string{true: "public/app", false: "alice/app"}[auth == ""]
		if err := readAll(patience(t), a, v, repository, d, auth); err != nil {
			t.Fatal(err)
		}
		until(t, "a holds it", func() bool {
			p, _ := a.Task(taskOf(t, d))
			return p.Complete
		})
	}
	seed.Stop()
	v.set(func() {
		delete(v.contents, "alice/app/blobs/"+private.String())
		delete(v.contents, "public/app/blobs/"+public.String())
	})

	b := c.Start(pki.Node, "b", Options{})
	ask := func(n *Node, repository string, blob, listed digest.Digest, auth string) error {
		ask := fetcher.Content{Registry: v.host, Repository: repository, Kind: fetcher.Blob, Digest: blob, Listed: listed, Header: http.Header{}}
		if auth != "" {
			ask.Header.Set("Authorization", auth)
		}
		body, err := n.Fetcher.Open(patience(t), ask, fetcher.All)
		if err != nil {
			return err
		}
		defer body.Close()
		h := digest.SHA256.Digester()
		if _, err := io.Copy(h.Hash(), body); err != nil {
			return err
		}
		if h.Digest() != blob {
			t.Errorf("%s: other bytes", blob)
		}
		return nil
	}
	for name, tt := range map[string]struct {
		repository   string
		blob, listed digest.Digest
		auth         string
		refused      func(error) bool // nil = he gets it
	}{
		"who may read the manifest":           {"alice/app", private, naming, issue("alice/app"), nil},
		"everybody, where it is everybody's":  {"public/app", public, publicly, "", nil},
		"nobody without a manifest":           {"alice/app", private, "", issue("alice/app"), errdefs.IsNotFound},
		"one that does not name it":           {"alice/app", private, other, issue("alice/app"), errdefs.IsNotFound},
		"one that is not there":               {"alice/app", private, digest.FromString("none"), issue("alice/app"), errdefs.IsNotFound},
		"a stranger":                          {"alice/app", private, naming, "", errdefs.IsUnauthorized},
		"somebody else":                       {"alice/app", private, naming, issue("bob/app"), errdefs.IsUnauthorized},
		"who may read another one's manifest": {"public/app", private, publicly, "", errdefs.IsNotFound},
	} {
		err := ask(b, tt.repository, tt.blob, tt.listed, tt.auth)
		if tt.refused == nil && err != nil || tt.refused != nil && !tt.refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
