package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	darterdv1 "github.com/darter-p2p/darter/api/darterd/v1"
	"github.com/darter-p2p/darter/fetcher/registry"
	"github.com/darter-p2p/darter/p2p"
)

// explain answers what is asked of a task, a digest or an image.
func (d *daemon) explain(ctx context.Context, what string) (darterdv1.Explanation, error) {
	found := darterdv1.Explanation{What: what}
	ids := []p2p.TaskID{}
	if id, ok := d.findTask(what); ok {
		ids = append(ids, id)
	} else {
		ref, err := name.ParseReference(what)
		if err != nil {
			return found, fmt.Errorf("%q is no task, no digest held here and no image reference: %w", what, err)
		}
		found.Image = ref.Name()
		if ids, err = d.imageTasks(ref); err != nil {
			return found, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	for _, id := range ids {
		e, err := d.explainTask(id)
		if err != nil {
			if len(ids) > 1 {
				continue // a layer of another platform, say
			}
			return found, err
		}
		found.Tasks = append(found.Tasks, e)
	}
	return found, nil
}

// imageTasks returns the tasks of an image that this node has pulled: its manifests,
// configs and layers, as far as its manifests are held.
func (d *daemon) imageTasks(ref name.Reference) ([]p2p.TaskID, error) {
	root, err := digest.Parse(ref.Identifier())
	if err != nil {
		host, repository := ref.Context().RegistryStr(), ref.Context().RepositoryStr()
		var ok bool
		if root, ok = d.tags.Digest(host, repository, ref.Identifier()); !ok {
			return nil, fmt.Errorf("this node has not pulled tag %q lately; ask for its digest", ref.Identifier())
		}
	}
	var ids []p2p.TaskID
	todo := []digest.Digest{root}
	for len(todo) > 0 && len(ids) < 10_000 {
		id, err := p2p.TaskOfDigest(todo[0])
		todo = todo[1:]
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		todo = append(todo, d.children(id)...)
	}
	return ids, nil
}

// children returns the digests that a manifest or index names; none for anything else.
func (d *daemon) children(id p2p.TaskID) []digest.Digest {
	h, err := d.store.Open(id)
	if err != nil {
		return nil
	}
	defer h.Release()
	size := h.Geometry().Size
	if size > registry.MaxManifest {
		return nil
	}
	body := make([]byte, size)
	if _, err := h.ReadAt(body, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	var m struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if !strings.HasPrefix(strings.TrimSpace(string(body[:min(len(body), 64)])), "{") || json.Unmarshal(body, &m) != nil {
		return nil
	}
	var named []digest.Digest
	if m.Config != nil {
		named = append(named, m.Config.Digest)
	}
	for _, l := range append(m.Layers, m.Manifests...) {
		named = append(named, l.Digest)
	}
	return named
}
