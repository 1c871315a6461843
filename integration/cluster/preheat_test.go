package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/darter-p2p/darter/fetcher/preheat"
	"github.com/darter-p2p/darter/internal/pki"
	"github.com/darter-p2p/darter/manager/database"
	"github.com/darter-p2p/darter/manager/jobs"
	"github.com/darter-p2p/darter/manager/model"
	"github.com/darter-p2p/darter/p2p/store"
)

// office is a manager: a database, a worker, and what it knows of the nodes.
type office struct {
	t       *testing.T
	store   *database.Store
	cluster int64
	seals   *jobs.Sealer
	members []jobs.Node
}

// NodesOf implements jobs.Nodes.
func (o *office) NodesOf(context.Context, int64) ([]jobs.Node, error) { return o.members, nil }

// newOffice starts a manager of the cluster's nodes, and gives each its job service.
func newOffice(t *testing.T, c *Cluster, nodes ...*Node) *office {
	t.Helper()
	o := &office{t: t}
	cfg := database.Default()
	cfg.Path = filepath.Join(t.TempDir(), "manager.db")
	var err error
	if o.store, err = database.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.store.Close() })
	row := &model.Cluster{Name: "test"}
	if err := o.store.CreateCluster(t.Context(), row, time.Now()); err != nil {
		t.Fatal(err)
	}
	o.cluster = row.ID
	if o.seals, err = jobs.NewSealer(nil); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		role := pki.Node
		if strings.HasPrefix(string(n.ID), "seed") {
			role = pki.Seed
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := c.identity(role, string(n.ID))
		c.run(func(ctx context.Context) error { return preheat.New(n.Fetcher, n.Node, n.Store).Serve(ctx, l, id) })
		o.members = append(o.members, jobs.Node{
			Name: string(n.ID), Seed: role == pki.Seed, Up: true, IP: fmt.Sprintf("10.0.0.%d", i+1), Address: l.Addr().String(),
		})
	}
	w := jobs.Default()
	w.Poll, w.Flush, w.Retry, w.Tries = 50*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond, 2
	worker, err := jobs.NewWorker(w, "manager", o.store, o, jobs.Connect(c.identity(pki.Manager, "manager")), o.seals)
	if err != nil {
		t.Fatal(err)
	}
	c.run(worker.Run)
	return o
}

// do makes a job and waits for its end.
func (o *office) do(kind string, args jobs.Args) (*model.Job, jobs.Result, []model.JobItem) {
	o.t.Helper()
	raw, err := json.Marshal(args)
	if err == nil {
		raw, err = o.seals.Prepare(kind, raw)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	j := &model.Job{Kind: kind, ClusterID: o.cluster, Args: raw}
	if err := o.store.CreateJob(o.t.Context(), j, time.Now()); err != nil {
		o.t.Fatal(err)
	}
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if j, err = database.Get[model.Job](o.t.Context(), o.store, j.ID); err != nil {
			o.t.Fatal(err)
		}
		if j.State.Final() {
			break
		}
		if time.Now().After(late) {
			o.t.Fatalf("job does not end: %+v", j)
		}
	}
	var r jobs.Result
	if err := json.Unmarshal(j.Result, &r); err != nil {
		o.t.Fatal(err)
	}
	items, _, err := database.List[model.JobItem](o.t.Context(), o.store, database.Query{Where: map[string]any{"job_id": j.ID}})
	if err != nil {
		o.t.Fatal(err)
	}
	return j, r, items
}

// pushImage puts an image of two platforms, of so many layers each, into a repository.
// The first layer is in both.
func (v *vault) pushImage(repository, tag string, layers int) (root digest.Digest, all map[digest.Digest]string) {
	all = map[digest.Digest]string{}
	put := func(kind string, data []byte) ocispec.Descriptor {
		d := v.put(repository, kind, data)
		all[d] = kind
		return ocispec.Descriptor{Digest: d, Size: int64(len(data)), MediaType: "application/octet-stream"}
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for i, arch := range []string{"amd64", "arm64"} {
		p := ocispec.Platform{OS: "linux", Architecture: arch}
		config, _ := json.Marshal(p)
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: put("blobs", config)}
		for l := range layers {
			seed := byte(l)
			if l > 0 {
				seed += byte(100 * (i + 1))
			}
			m.Layers = append(m.Layers, put("blobs", randomBytes(seed, 700<<10+l<<18)))
		}
		text, _ := json.Marshal(m)
		d := put("manifests", text)
		d.MediaType, d.Platform = m.MediaType, &p
		index.Manifests = append(index.Manifests, d)
	}
	text, _ := json.Marshal(index)
	root = put("manifests", text).Digest
	v.set(func() { v.contents[repository+"/manifests/"+tag] = text })
	return root, all
}

// pull asks a node's mirror for an image as containerd does: the tag, then all that it
// names; the first refusal is the answer.
func pull(t *testing.T, at, registry, repository, tag, authorization string, all map[digest.Digest]string) (status int, challenge string) {
	t.Helper()
	paths := []string{"manifests/" + tag}
	for d, kind := range all {
		paths = append(paths, kind+"/"+d.String())
	}
	slices.Sort(paths[1:])
	for i, path := range paths {
		method := http.MethodGet
		if i == 0 {
			method = http.MethodHead
		}
		r, err := http.NewRequestWithContext(patience(t), method, at+"/v2/"+repository+"/"+path+"?ns="+registry, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
		}
		if _, want, _ := strings.Cut(path, "/sha256:"); method == http.MethodGet && digest.FromBytes(body).Encoded() != want {
			t.Errorf("%s: other bytes", path)
		}
	}
	return http.StatusOK, ""
}

// TestPreheatPrivate preheats a private image of two platforms to three nodes, stops the
// registry, and pulls by tag on each: with the credential it passes, without it is asked
// for, and a wrong one is refused. Registries that give tokens and that take passwords.
func TestPreheatPrivate(t *testing.T) {
	for name, wantBasic := range map[string]bool{"tokens": false, "passwords": true} {
		t.Run(name, func(t *testing.T) {
			c, v := New(t), newVault(t)
			v.wantBasic = wantBasic
			c.Registries = v.source(t)
			seed := c.Start(pki.Seed, "seed1", Options{})
			nodes := []*Node{c.Start(pki.Node, "node1", Options{}), c.Start(pki.Node, "node2", Options{}), c.Start(pki.Node, "node3", Options{})}
			o := newOffice(t, c, append([]*Node{seed}, nodes...)...)
			const repository = "private/app"
			v.user("alice", repository)
			alice := "Basic YWxpY2U6YWxpY2UtcGFzc3dvcmQ="
			root, all := v.pushImage(repository, "1", 7)
			image := v.host + "/" + repository + ":1"
			before := time.Now()

			dry, r, _ := o.do(jobs.Preheat, jobs.Args{Image: image, Scope: jobs.AllPeers, Authorization: alice, DryRun: true})
			if dry.State != model.Succeeded || r.BytesMove != 4*r.Bytes-r.BytesHeld || r.BytesMove < 3*r.Bytes {
				t.Errorf("dry run: %s %q %+v", dry.State, dry.Error, r)
			}
			j, r, items := o.do(jobs.Preheat, jobs.Args{Image: image, Scope: jobs.AllPeers, Authorization: alice, PinSeconds: 3600})
			if j.State != model.Succeeded || r.Digest != root.String() || r.Contents != len(all) || r.Succeeded != 4*len(all) {
				t.Fatalf("%s %q %+v", j.State, j.Error, r)
			}
			for _, i := range items {
				if i.State != model.Succeeded || i.Verified != i.Pieces || i.Pieces == 0 {
					t.Errorf("%+v", i)
				}
			}
			for d := range all {
				if kind := all[d]; kind == "blobs" && v.bodies(d) > int64(len(v.contents[repository+"/blobs/"+d.String()])) {
					t.Errorf("the registry sent %d bytes of %s", v.bodies(d), d)
				}
			}
			for _, n := range nodes {
				if pinned := slices.IndexFunc(n.Store.List(), func(i store.Info) bool {
					return len(i.Pins) != 1 || i.Pins[fmt.Sprintf("preheat:job-%d", j.ID)].Before(before.Add(time.Hour-time.Minute))
				}); pinned >= 0 {
					t.Errorf("%s: not pinned: %+v", n.ID, n.Store.List()[pinned])
				}
			}

			v.set(func() { v.down = true })
			for _, n := range nodes {
				door := doorOf(t, n)
				if status, challenge := pull(t, door, v.host, repository, "1", "", all); status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Basic ") {
					t.Errorf("%s without a credential: %d %q", n.ID, status, challenge)
				}
				if status, _ := pull(t, door, v.host, repository, "1", "Basic bWFsbG9yeTpndWVzcw==", all); status != http.StatusServiceUnavailable {
					t.Errorf("%s with a wrong credential: %d", n.ID, status)
				}
				if status, _ := pull(t, door, v.host, repository, "1", alice, all); status != http.StatusOK {
					t.Errorf("%s with the credential: %d", n.ID, status)
				}
				for d, kind := range all { // the digest alone opens nothing
					if status, _ := pull(t, door, v.host, repository, d.String(), "", nil); kind == "manifests" && status != http.StatusUnauthorized {
						t.Errorf("%s by digest without a credential: %d", n.ID, status)
					}
				}
			}
			v.set(func() { v.down = false })

			find, r, _ := o.do(jobs.Find, jobs.Args{Image: image, Platforms: []string{"linux/arm64"}, Authorization: alice})
			if find.State != model.Succeeded || r.Contents != 2+8 || r.Nodes[0].Contents != r.Contents {
				t.Errorf("find: %s %q %+v", find.State, find.Error, r)
			}
			gone, r, _ := o.do(jobs.Delete, jobs.Args{Image: image, Authorization: alice})
			if gone.State != model.Succeeded || r.BytesFreed < 4*8*700<<10 {
				t.Errorf("delete: %s %q %+v", gone.State, gone.Error, r)
			}
			for _, n := range nodes {
				if len(n.Store.List()) != 0 {
					t.Errorf("%s holds %d contents after the delete", n.ID, len(n.Store.List()))
				}
			}
			// Nodes that had them a moment ago take them anew.
			if again, r, _ := o.do(jobs.Preheat, jobs.Args{Image: image, Authorization: alice, Scope: jobs.AllPeers}); again.State != model.Succeeded {
				t.Errorf("after the delete: %s %q %+v", again.State, again.Error, r)
			}
		})
	}
}

// TestPreheatFails preheats what cannot work: never a success, and each in its own words.
func TestPreheatFails(t *testing.T) {
	c, v := New(t), newVault(t)
	c.Registries = v.source(t)
	seed := c.Start(pki.Seed, "seed1", Options{})
	small := c.Start(pki.Node, "small", Options{Store: func(s *store.Config) { s.Quota = 2 << 20 }})
	dead := c.Start(pki.Node, "dead", Options{})
	o := newOffice(t, c, seed, small, dead)
	const repository = "private/app"
	v.user("alice", repository)
	alice := "Basic YWxpY2U6YWxpY2UtcGFzc3dvcmQ="
	v.pushImage(repository, "1", 7)
	image := v.host + "/" + repository
	o.members[2].Address = "127.0.0.1:1" // nobody is there
	for _, f := range []struct {
		name  string
		args  jobs.Args
		words []string
	}{
		{"no such tag", jobs.Args{Image: image + ":none", Authorization: alice}, []string{"404"}},
		{"a wrong password", jobs.Args{Image: image + ":1", Authorization: "Basic bWFsbG9yeTpndWVzcw=="}, []string{"401"}},
		{"no credential", jobs.Args{Image: image + ":1"}, []string{"401"}},
		{"a platform that is not there", jobs.Args{Image: image + ":1", Authorization: alice, Platforms: []string{"windows/amd64"}}, []string{"windows/amd64", "linux/arm64"}},
		{"no such registry", jobs.Args{Image: "127.0.0.1:1/app:1"}, []string{"refused"}},
		{"a URL that is not there", jobs.Args{Files: []jobs.File{{URL: v.url + "/v2/none"}}}, []string{"401"}},
		{"a node that is down", jobs.Args{Image: image + ":1", Authorization: alice, IPs: []string{"10.0.0.3"}}, []string{"dead", "cannot be reached"}},
		{"a full disk", jobs.Args{Image: image + ":1", Authorization: alice, IPs: []string{"10.0.0.2"}, PinSeconds: 600}, []string{"small", "more than the quota"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			j, r, items := o.do(jobs.Preheat, f.args)
			if j.State != model.Failed {
				t.Errorf("%s: %+v", j.State, r)
			}
			text := j.Error
			for _, i := range items {
				if i.State != model.Succeeded && i.State != model.Failed || i.State == model.Succeeded && i.Verified != i.Pieces {
					t.Errorf("%+v", i)
				}
				text += "\n" + i.Error
			}
			for _, want := range f.words {
				if !strings.Contains(text, want) {
					t.Errorf("%s\nwant %q", text, want)
				}
			}
			if strings.Contains(text, "YWxpY2U") {
				t.Error("the credential is in the words")
			}
			t.Log(j.Error)
		})
	}
}
