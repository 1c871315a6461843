package dropin

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
)

var update = flag.Bool("update", false, "write the drop-ins of testdata/cases again")

// TestCompute compares the drop-ins for real configurations: each case has the
// files, what containerd (2.4.2, or the one in the case's name) made of them, and the drop-in.
func TestCompute(t *testing.T) {
	cases, err := filepath.Glob("testdata/cases/*/config.toml")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, main := range cases {
		dir := filepath.Dir(main)
		for suffix, cri := range map[string]bool{"": false, "-cri": true} {
			t.Run(filepath.Base(dir)+suffix, func(t *testing.T) {
				dump, err := os.ReadFile(filepath.Join(dir, "dump.toml"))
				if err != nil {
					t.Fatal(err)
				}
				base, err := ParseMerged(dump)
				if err != nil {
					t.Fatal(err)
				}
				all, err := view{}.sources(main)
				if err != nil {
					t.Fatal(err)
				}
				o := Default()
				o.CRI, o.RemapIDs = cri, true
				versions, err := dropInVersions(base, all)
				if err != nil {
					t.Fatal(err)
				}
				c := compute(base, all, versions[0], o)
				text, err := c.text()
				if err != nil {
					t.Fatal(err)
				}
				got := strings.ReplaceAll(string(text), platforms.Format(platforms.DefaultSpec()), "linux/amd64")
				got = strings.TrimPrefix(got, header)
				for _, n := range c.notes {
					got += "\n# " + n + "\n"
				}
				golden := filepath.Join(dir, "want"+suffix+".toml")
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("the drop-in is not %s:\n%s", golden, diff(golden, want, []byte(got)))
				}
			})
		}
	}
}

// TestSample compares contrib's sample with what init writes on a plain node.
func TestSample(t *testing.T) {
	want, err := os.ReadFile("testdata/cases/plain-4/want.toml")
	if err != nil {
		t.Fatal(err)
	}
	const sample = "../../contrib/containerd/conf.d/" + FileName
	got, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	if want = append([]byte(header), want...); string(got) != string(want) {
		t.Errorf("the sample is not what init writes:\n%s", diff(sample, got, want))
	}
	hosts, err := os.ReadFile("../../contrib/containerd/certs.d/_default/hosts.toml")
	if err != nil {
		t.Fatal(err)
	}
	if after, err := addMirror(hosts, Default().Mirror); err != nil || string(after) != string(hosts) {
		t.Errorf("the sample of hosts.toml does not name the mirror: %v", err)
	}
}

func TestLocalPull(t *testing.T) {
	for _, test := range []struct{ name, cri, want string }{
		{"transfer", "use_local_image_pull = false\nmax_concurrent_downloads = 3\ndisable_snapshot_annotations = true", ""},
		{"said", "use_local_image_pull = true", "use_local_image_pull = true"},
		{"downloads", "use_local_image_pull = false\nmax_concurrent_downloads = 4", "max_concurrent_downloads = 4"},
		{"discard", "use_local_image_pull = false\ndiscard_unpacked_layers = true", "discard_unpacked_layers = true"},
		{"annotations", "use_local_image_pull = false\ndisable_snapshot_annotations = false", "disable_snapshot_annotations = false"},
		{"old keys", "use_local_image_pull = false\nregistry.configs.\"a.b\".auth.username = 'x'", "registry.configs is set"},
		{"before 2.1", "snapshotter = 'overlayfs'", "this version always does"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := ParseMerged([]byte("version = 3\n[plugins.'io.containerd.cri.v1.images']\n" + test.cri))
			if err != nil {
				t.Fatal(err)
			}
			if got, local := m.CRILocalPull(); got != test.want || local != (test.want != "") {
				t.Errorf("reason %q, %t, want %q", got, local, test.want)
			}
		})
	}
}

func FuzzParseMerged(f *testing.F) {
	f.Add([]byte("version = 4\n[plugins.'io.containerd.transfer.v1.local']\nunpack_config = [{snapshotter='x'}, 3]"))
	f.Add([]byte("version = 2\nplugins = 7\n[proxy_plugins.darter.exports]\na = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMerged(data)
		if err != nil {
			return
		}
		all := []source{{"/etc/containerd/config.toml", data, m.tree}}
		versions, err := dropInVersions(m, all)
		if err != nil {
			return
		}
		for _, v := range versions {
			if _, err := compute(m, all, v, Default()).text(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
