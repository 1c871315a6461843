package registry

import (
	"net/http"
	"reflect"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for _, tc := range []struct {
		lines []string
		want  []challenge
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"Basic"}, []challenge{{"basic", params{}}}},
		{
			[]string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push"`},
			[]challenge{{"bearer", params{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/nginx:pull,push"}}},
		},
		{
			[]string{`Bearer realm="a" , error="x", Basic realm="b"`, `BEARER Realm=c`},
			[]challenge{{"bearer", params{"realm": "a", "error": "x"}}, {"basic", params{"realm": "b"}}, {"bearer", params{"realm": "c"}}},
		},
		{[]string{`Bearer realm = "a\"b\\c"`}, []challenge{{"bearer", params{"realm": `a"b\c`}}}},
		{[]string{`Bearer realm=https://h/token,service=s`}, []challenge{{"bearer", params{"realm": "https://h/token", "service": "s"}}}},
		{[]string{`Bearer realm="a",realm="b"`}, []challenge{{"bearer", params{"realm": "a"}}}},
		{[]string{`Bearer realm="a`}, []challenge{{"bearer", params{}}}},
		{[]string{`"Bearer"`}, nil},
	} {
		got := parseChallenges(http.Header{"Www-Authenticate": tc.lines})
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q:\n got %v\nwant %v", tc.lines, got, tc.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:x:pull"`)
	f.Add(`Basic realm="x", Bearer realm = "a\"b"`)
	f.Add(`Negotiate abc==, Basic`)
	f.Fuzz(func(t *testing.T, line string) {
		all := parseChallenges(http.Header{"Www-Authenticate": {line}})
		if len(all) > maxChallenges {
			t.Errorf("%d challenges", len(all))
		}
		for _, c := range all {
			if c.scheme == "" || len(c.params) > maxParams {
				t.Errorf("%+v", c)
			}
		}
	})
}
