package credential

import "testing"

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, image string
		want           bool
	}{
		// The examples of the kubelet's documentation.
		{"123456789.dkr.ecr.us-east-1.amazonaws.com", "123456789.dkr.ecr.us-east-1.amazonaws.com/a/b", true},
		{"*.azurecr.io", "team.azurecr.io/app", true},
		{"gcr.io", "gcr.io/project/app", true},
		{"*.*.registry.io", "eu.cache.registry.io/app", true},
		{"registry.io:8080/path", "registry.io:8080/path/app", true},
		{"*.k8s.io", "registry.k8s.io/pause", true},
		{"k8s.*.io", "k8s.gcr.io/pause", true},
		{"k8s.*", "k8s.io/pause", true},
		{"app*.k8s.io", "app1.k8s.io/pause", true},
		// Labels.
		{"*.io", "registry.k8s.io/pause", false},
		{"*.*.registry.io", "registry.io/app", false},
		{"gcr.io", "eu.gcr.io/app", false},
		{"*", "localhost/app", true},
		{"*", "gcr.io/app", false},
		{"*.docker.io", "docker.io/library/x", false},
		{"a?c.io", "abc.io/x", false}, // as a URL, this is the host a
		{"[ab].io", "b.io/x", false},  // and this is none
		{"[a.io", "a.io/x", false},
		{"GCR.io", "gcr.io/x", true},
		// Ports: none is not any.
		{"registry.io", "registry.io:8080/app", false},
		{"registry.io:8080", "registry.io/app", false},
		{"registry.io:8080", "registry.io:8080/app", true},
		{"registry.io:*", "registry.io:8080/app", false},
		{"127.0.0.1:5000", "127.0.0.1:5000/app", true},
		{"[::1]:5000", "[::1]:5000/app", true},
		// Paths: a prefix, also within a name; no wildcards.
		{"registry.io/path", "registry.io/path", true},
		{"registry.io/path", "registry.io/pathology", true},
		{"registry.io/path/", "registry.io/pathology", false},
		{"registry.io/*", "registry.io/path", false},
		{"registry.io/path", "registry.io/other", false},
		{"", "registry.io/x", false},
		{"%zz", "registry.io/x", false},
	} {
		if got := matches(tc.pattern, tc.image); got != tc.want {
			t.Errorf("%q covers %q: %v", tc.pattern, tc.image, got)
		}
	}
}

func TestKeyring(t *testing.T) {
	ring := newKeyring(map[string]login{
		"https://registry.io/v2/": {user: "plain"},
		"registry.io/team":        {user: "team"},
		"registry.io/team/app":    {user: "app"},
		"*.example.com":           {user: "any"},
		"eu.example.com":          {user: "eu"},
		"http://r.test:5000/v1":   {user: "port"},
		"empty.test":              {},
		"https://index.docker.io/v1/": {
			user: "hub",
		},
		"docker.io/acme": {user: "acme"},
		"%zz":            {user: "bad"},
		"":               {user: "bad"},
		"/":              {user: "bad"},
		"https://":       {user: "bad"},
	})
	for image, want := range map[string]string{
		"registry.io/x":             "plain",
		"registry.io/team":          "team",
		"registry.io/team/other":    "team",
		"registry.io/team/app/y":    "app",
		"us.example.com/x":          "any",
		"eu.example.com/x":          "eu",
		"r.test:5000/x":             "port",
		"r.test/x":                  "",
		"empty.test/x":              "",
		"docker.io/library/nginx":   "hub",
		"docker.io/acme/app":        "acme",
		"index.docker.io/x":         "hub",
		"registry-1.docker.io/x":    "",
		"notdocker.io/library/x":    "",
		"docker.io.evil.test/x":     "",
		"registry.io.evil.test/app": "",
	} {
		if l, key, _ := ring.find(image); l.user != want {
			t.Errorf("%s: login of %q under %q, want %q", image, l.user, key, want)
		}
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("*.azurecr.io:80/x", "team.azurecr.io:80/x/y")
	f.Add("[", "[::1]:5000/app")
	f.Fuzz(func(t *testing.T, glob, image string) {
		if matches(glob, image) {
			g, _ := parsePattern(glob)
			i, _ := parsePattern(image)
			if g.port != i.port || len(g.labels) != len(i.labels) {
				t.Errorf("%q covers %q", glob, image)
			}
		}
		newKeyring(map[string]login{glob: {user: "u"}}).find(image)
	})
}
