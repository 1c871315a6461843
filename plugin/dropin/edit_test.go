package dropin

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestAddImport(t *testing.T) {
	const line = `imports = ["/c/*.toml"]` + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", line},
		{"version", "# c\nversion = 2\n\n[plugins]\n", "# c\nversion = 2\n" + line + "\n[plugins]\n"},
		{"no version", "disabled_plugins = [\"cri\"]\n", line + "disabled_plugins = [\"cri\"]\n"},
		{"no line end", "version = 2", "version = 2\n" + line},
		{"empty list", "imports = []\nversion = 2\n", line + "version = 2\n"},
		{"another", "version = 3\nimports = [\n  'a.toml', # the first\n]\nroot = '/r'\n", "version = 3\nimports = [\"a.toml\", \"/c/*.toml\"]\nroot = '/r'\n"},
		{"of a table", "version = 2\n[x]\nimports = ['a']\n", "version = 2\n" + line + "[x]\nimports = ['a']\n"},
		{"text like it", "version = 2\nroot = '''\nimports = [\n[x]\n'''\nstate = \"#\\\"[\" # imports = 1\n[a]\n", "version = 2\n" + line + "root = '''\nimports = [\n[x]\n'''\nstate = \"#\\\"[\" # imports = 1\n[a]\n"},
		{"windows", "version = 2\r\nroot = '/r'\r\n", "version = 2\r\n" + line + "root = '/r'\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := addImport([]byte(test.text), "/c/*.toml")
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
		})
	}
	if _, err := addImport([]byte("imports = [1]"), "/c/*.toml"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("imports that are no strings: %v", err)
	}
}

func FuzzAddImport(f *testing.F) {
	for _, s := range []string{"", "version = 2", "imports = ['a']\n[x]", "a = '''\n[x]\n''' # c\n\"imports\" = [ ]", "a.b = {c = [1,\n2]}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before, err := decode(text)
		if err != nil {
			return
		}
		after, err := addImport(text, "/c/*.toml")
		if err != nil {
			return
		}
		tree, err := decode(after)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range differences(before, tree, nil) {
			if d[0] != "imports" {
				t.Fatalf("%q became %q", text, after)
			}
		}
	})
}

func TestAddMirror(t *testing.T) {
	const mirror = "http://127.0.0.1:65001"
	table := mirrorTable(mirror)
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", table},
		{"server alone", "server = \"https://r\"\n", "server = \"https://r\"\n\n" + table},
		{"no line end", "server = \"https://r\"", "server = \"https://r\"\n\n" + table},
		{"before others", "# f\nserver = \"https://r\"\n\n# cache\n# of ours\n[host.\"https://c\"]\n  ca = \"c.crt\"\n",
			"# f\nserver = \"https://r\"\n\n" + table + "\n# cache\n# of ours\n[host.\"https://c\"]\n  ca = \"c.crt\"\n"},
		{"there already", "[host.\"http://127.0.0.1:65001\"]\n", "[host.\"http://127.0.0.1:65001\"]\n"},
		{"strings of several lines", "capabilities = [\n'pull', # ]\n]\n[header]\nx = '''\n[host]\n'''\n", "capabilities = [\n'pull', # ]\n]\n" + table + "\n[header]\nx = '''\n[host]\n'''\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := addMirror([]byte(test.text), mirror)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got %q\nwant %q", got, test.want)
			}
			if !UsesMirror(got, mirror) {
				t.Error("the result does not use the mirror")
			}
			again, err := addMirror(got, mirror)
			if err != nil || string(again) != string(got) {
				t.Errorf("a second time: %q, %v", again, err)
			}
		})
	}
	for _, text := range []string{"host = {}\n", "host.\"https://c\".capabilities = ['pull']\n"} {
		if _, err := addMirror([]byte(text), mirror); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := addMirror([]byte("server = "), mirror); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no TOML: %v", err)
	}
}

func FuzzAddMirror(f *testing.F) {
	for _, s := range []string{"", "server = 'x'", "# a\n[host.'b']\n", "a = \"\"\"\n[\n\"\"\"\n[host]\n[host.c]", "'host' = {a = {}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		after, err := addMirror(text, "http://127.0.0.1:65001")
		if err == nil && !UsesMirror(after, "http://127.0.0.1:65001") {
			t.Fatalf("%q became %q", text, after)
		}
	})
}

func TestDiff(t *testing.T) {
	numbers := "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n"
	for _, test := range []struct{ name, before, after, want string }{
		{"same", "a\n", "a\n", ""},
		{"insert", "1\n2\n3\n4\n5\n", "1\n2\n3\nx\n4\n5\n", "--- a/f\n+++ b/f\n@@ -1,5 +1,6 @@\n 1\n 2\n 3\n+x\n 4\n 5\n"},
		{"no line end", "a", "b\n", "--- a/f\n+++ b/f\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+b\n"},
		{"two hunks", numbers, "0\n" + strings.TrimSuffix(numbers, "15\n"), "--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -12,4 +13,3 @@\n 12\n 13\n 14\n-15\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := diff("/f", []byte(test.before), []byte(test.after)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	if got, want := diff("/f", nil, []byte("a\n")), "--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+a\n"; got != want {
		t.Errorf("new file: %q, want %q", got, want)
	}
}
