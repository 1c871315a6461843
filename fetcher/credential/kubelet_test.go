package credential

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const v1 = "credentialprovider.kubelet.k8s.io/v1"

func providers(list ...string) string {
	return "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n" + strings.Join(list, "")
}

func providerYAML(name, life string, match ...string) string {
	return fmt.Sprintf("- name: %s\n  apiVersion: %s\n  defaultCacheDuration: %q\n  matchImages: [%s]\n", name, v1, life, strings.Join(quoteAll(match), ", "))
}

func quoteAll(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}

// plugins is a kubelet's configuration with programs that log what they are asked.
type plugins struct {
	*kubelet
	t     *testing.T
	asked string
}

func newPlugins(t *testing.T, config string) *plugins {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "providers.yaml")
	write(t, path, config)
	return &plugins{newKubelet(path, dir, time.Minute), t, filepath.Join(dir, "asked")}
}

// answer makes a plugin that answers with text, after it logged its question.
func (p *plugins) answer(name, text string) {
	p.t.Helper()
	script(p.t, p.bin, name, `(echo "`+name+` $*"; cat; echo) >> `+p.asked+"\ncat <<'END'\n"+text+"\nEND")
}

func response(keyType, rest string) string {
	return `{"kind":"CredentialProviderResponse","apiVersion":"` + v1 + `","cacheKeyType":"` + keyType + `"` + rest + `}`
}

func auth(pairs ...string) string {
	m := map[string]map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = map[string]string{"username": pairs[i+1], "password": "p"}
	}
	b, _ := json.Marshal(m)
	return `,"auth":` + string(b)
}

func (p *plugins) count() int { return runs(p.t, p.asked) / 2 }

func TestProvider(t *testing.T) {
	p := newPlugins(t, providers(providerYAML("ecr", "12h", "*.ecr.test", "docker.io/acme"))+
		"  args: [get-credentials, --v=2]\n  env:\n  - name: PROFILE\n    value: prod\n")
	script(t, p.bin, "ecr", `(echo "$* $PROFILE"; cat; echo) >> `+p.asked+`
echo '`+response("Registry", auth("*.ecr.test", "u", "docker.io", "hub"))+`'`)
	if got := knows(t, p, "eu.ecr.test", "team/app"); got != basic("u", "p") {
		t.Errorf("%q", got)
	}
	b, _ := os.ReadFile(p.asked)
	lines := strings.Split(string(b), "\n")
	if lines[0] != "get-credentials --v=2 prod" {
		t.Errorf("run with %q", lines[0])
	}
	var asked map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &asked); err != nil {
		t.Fatal(err)
	}
	if asked["kind"] != "CredentialProviderRequest" || asked["apiVersion"] != v1 || asked["image"] != "eu.ecr.test/team/app" || len(asked) != 3 {
		t.Errorf("asked %v", asked)
	}
	if got := knows(t, p, "docker.io", "acme/app"); got != basic("hub", "p") {
		t.Errorf("docker hub: %q", got)
	}
	n := p.count()
	for _, other := range [][2]string{{"ecr.test", "x"}, {"docker.io", "library/x"}, {"a.b.ecr.test", "x"}} {
		if got := knows(t, p, other[0], other[1]); got != "" || p.count() != n {
			t.Errorf("%v: %q, %d runs", other, got, p.count()-n)
		}
	}
}

// What is kept of an answer, and for whom.
func TestProviderCache(t *testing.T) {
	for name, tc := range map[string]struct {
		life, keyType, rest string
		// runs for: an image, the same again, another of the registry, one of another registry
		want [4]int
	}{
		"image":                  {"1h", "Image", "", [4]int{1, 0, 1, 1}},
		"registry":               {"1h", "Registry", "", [4]int{1, 0, 0, 1}},
		"global":                 {"1h", "Global", "", [4]int{1, 0, 0, 0}},
		"not by default":         {"0s", "Global", "", [4]int{1, 1, 1, 1}},
		"by the answer":          {"0s", "Global", `,"cacheDuration":"1h"`, [4]int{1, 0, 0, 0}},
		"not, says the answer":   {"1h", "Global", `,"cacheDuration":"0s"`, [4]int{1, 1, 1, 1}},
		"null is as not said":    {"1h", "Global", `,"cacheDuration":null`, [4]int{1, 0, 0, 0}},
		"a life below zero":      {"1h", "Global", `,"cacheDuration":"-1h"`, [4]int{1, 1, 1, 1}},
		"nothing for the image":  {"1h", "Registry", `,"auth":{}`, [4]int{1, 0, 0, 1}},
		"nothing, and auth null": {"1h", "Registry", `,"auth":null`, [4]int{1, 0, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugins(t, providers(providerYAML("p", tc.life, "*.test")))
			rest, want := tc.rest, ""
			if !strings.Contains(rest, "auth") {
				rest, want = rest+auth("*.test", "u"), basic("u", "p")
			}
			p.answer("p", response(tc.keyType, rest))
			for i, place := range [4][2]string{{"a.test", "x"}, {"a.test", "x"}, {"a.test", "y"}, {"b.test", "x"}} {
				before := p.count()
				if got := knows(t, p, place[0], place[1]); got != want {
					t.Errorf("%v: %q", place, got)
				}
				if n := p.count() - before; n != tc.want[i] {
					t.Errorf("ask %d: %d runs, want %d", i, n, tc.want[i])
				}
			}
		})
	}
}

func TestAnswersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemo[int]()
		n := 0
		ask := func() int {
			v, err := m.get(t.Context(), func(context.Context) (answer[int], error) { n++; return answer[int]{n, "*", time.Minute}, nil }, "image", "registry", "*")
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		first := ask()
		time.Sleep(time.Minute - 1)
		if got := ask(); got != first {
			t.Error("not kept for its life")
		}
		time.Sleep(time.Nanosecond)
		if got := ask(); got == first {
			t.Error("kept after its life")
		}
	})
}

// Of all that providers answer the most specific key counts, then the earlier provider.
func TestProvidersAreCombined(t *testing.T) {
	p := newPlugins(t, providers(providerYAML("one", "1h", "*.test"), providerYAML("two", "1h", "*.test"), providerYAML("bad", "1h", "*.test")))
	p.answer("one", response("Image", auth("*.test", "one-any", "a.test", "one-a", "c.test/x", "one-path")))
	p.answer("two", response("Image", auth("*.test", "two-any", "a.test", "two-a", "b.test", "two-b", "c.test", "two-host")))
	p.answer("bad", secret)
	for place, want := range map[[2]string]string{
		{"a.test", "x"}: "one-a", {"b.test", "x"}: "two-b", {"c.test", "x"}: "one-path", {"c.test", "y"}: "two-host", {"d.test", "x"}: "one-any",
	} {
		if got := knows(t, p, place[0], place[1]); got != basic(want, "p") {
			t.Errorf("%v: %q, want %q", place, got, want)
		}
	}
}

func TestHostileProviders(t *testing.T) {
	for name, text := range map[string]string{
		"garbage":     "echo " + secret,
		"nothing":     "true",
		"fails":       "echo " + secret + " >&2; exit 1",
		"hangs":       "sleep 1000",
		"floods":      "yes " + secret,
		"wrong kind":  `echo '{"kind":"x","apiVersion":"` + v1 + `","cacheKeyType":"Image"` + auth("a.test", secret) + `}'`,
		"version":     `echo '{"kind":"CredentialProviderResponse","apiVersion":"v2","cacheKeyType":"Image"` + auth("a.test", secret) + `}'`,
		"key type":    `echo '` + response(secret, auth("a.test", secret)) + `'`,
		"duration":    `echo '` + response("Image", `,"cacheDuration":"`+secret+`"`+auth("a.test", secret)) + `'`,
		"a list":      `echo '` + response("Image", `,"auth":["`+secret+`"]`) + `'`,
		"is missing":  "",
		"stops early": `echo '` + response("Image", auth("a.test", secret))[:60] + `'`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugins(t, providers(providerYAML("p", "1h", "*.test")))
			p.timeout = 200 * time.Millisecond
			if !strings.Contains(text, "sleep") {
				p.timeout = 20 * time.Second
			}
			if text != "" {
				script(t, p.bin, "p", "echo x >> "+p.asked+"\n"+text)
			}
			for range 3 {
				got, err := p.Authorization(t.Context(), "a.test", "x")
				isClean(t, err)
				if err == nil || got != "" || !strings.Contains(err.Error(), "provider p") {
					t.Errorf("%q, %v", got, err)
				}
			}
			if n := runs(t, p.asked); n > 1 {
				t.Errorf("run %d times within the life of a failure", n)
			}
		})
	}
}

func TestProviderConfigs(t *testing.T) {
	good := providerYAML("p", "1h", "*.test")
	for name, tc := range map[string]struct{ text, err string }{
		"good":            {providers(good), ""},
		"JSON":            {`{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"CredentialProviderConfig","providers":[{"name":"p","apiVersion":"` + v1 + `beta1","defaultCacheDuration":"0s","matchImages":["x"]}]}`, ""},
		"empty":           {"", "not a CredentialProviderConfig"},
		"another kind":    {"apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n", "not a CredentialProviderConfig"},
		"another group":   {"apiVersion: v1\nkind: CredentialProviderConfig\n", "not a CredentialProviderConfig"},
		"not YAML":        {"{{ " + secret, "not a CredentialProviderConfig"},
		"not YAML, lines": {"a: b: " + secret, "not a CredentialProviderConfig"},
		"keys of numbers": {"1: {2: 3}", "not a CredentialProviderConfig"},
		"no providers":    {providers(), "no providers"},
		"twice":           {providers(good, good), "twice"},
		"a path":          {providers(providerYAML("../p", "1h", "x")), "name"},
		"no images":       {providers(providerYAML("p", "1h")), "matchImages"},
		"a bad image":     {providers(providerYAML("p", "1h", "x:*")), "matchImages"},
		"a bad life":      {providers(providerYAML("p", "soon", "x")), "defaultCacheDuration"},
		"a life below 0":  {providers(providerYAML("p", "-1h", "x")), "defaultCacheDuration"},
		"no life":         {strings.Replace(providers(good), "  defaultCacheDuration: \"1h\"\n", "", 1), "defaultCacheDuration"},
		"another version": {strings.Replace(providers(good), v1, v1+"7", 1), "apiVersion"},
	} {
		_, err := parseProviders([][]byte{[]byte(tc.text)})
		isClean(t, err)
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, want %q", name, err, tc.err)
		}
	}
}

// A provider that wants a pod's service account is not asked: a node has none.
func TestServiceAccounts(t *testing.T) {
	for text, want := range map[string]int{
		"  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true, cacheType: Token}\n":  0,
		"  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: false, cacheType: Token}\n": 1,
		"": 1,
	} {
		p := newPlugins(t, providers(providerYAML("p", "1h", "*.test"))+text)
		p.answer("p", response("Image", auth("a.test", "u")))
		if got := knows(t, p, "a.test", "x"); (got != "") != (want == 1) || p.count() != want {
			t.Errorf("%q: %q, %d runs", text, got, p.count())
		}
	}
}

func TestProviderFolder(t *testing.T) {
	dir := t.TempDir()
	k := newKubelet(dir, dir, time.Minute)
	if _, err := k.Authorization(t.Context(), "a.test", "x"); err == nil {
		t.Error("an empty folder is no error")
	}
	script(t, dir, "one", "echo '"+response("Image", auth("a.test", "one"))+"'")
	script(t, dir, "two", "echo '"+response("Image", auth("a.test", "two"))+"'")
	write(t, filepath.Join(dir, "b.yaml"), providers(providerYAML("two", "1h", "a.test")))
	if got := knows(t, k, "a.test", "x"); got != basic("two", "p") {
		t.Errorf("%q", got)
	}
	write(t, filepath.Join(dir, "a.yml"), providers(providerYAML("one", "1h", "a.test")))
	if got := knows(t, k, "a.test", "x"); got != basic("one", "p") {
		t.Errorf("the first file's: %q", got)
	}
	write(t, filepath.Join(dir, "c.json"), secret)
	_, err := k.Authorization(t.Context(), "a.test", "x")
	isClean(t, err)
	if err == nil {
		t.Error("a broken file is no error")
	}
}

func FuzzProviderConfig(f *testing.F) {
	f.Add([]byte(providers(providerYAML("p", "1h", "*.test"))))
	f.Add([]byte(`{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseProviders([][]byte{b})
		if err != nil {
			return
		}
		for _, p := range all {
			if !safeName(p.name) || p.life < 0 || len(p.matchImages) == 0 {
				t.Errorf("%+v", p)
			}
			p.handles("a.test/x")
		}
	})
}

func FuzzProviderResponse(f *testing.F) {
	f.Add([]byte(response("Image", auth("a.test", "u"))))
	f.Add([]byte(response("Global", `,"cacheDuration":"1h","auth":{"*.test:80/x":{"username":"a","password":"b"}}`)))
	p := &provider{apiVersion: v1, life: time.Hour}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := p.parse(b, "a.test/x")
		if err != nil {
			return
		}
		if a.key != "a.test/x" && a.key != "a.test" && a.key != globalKey {
			t.Errorf("kept under %q", a.key)
		}
		if l, _, ok := a.value.find("a.test/x"); ok && (l.authorization() == "" || strings.ContainsAny(l.authorization(), "\r\n")) {
			t.Errorf("%q", l.authorization())
		}
	})
}
