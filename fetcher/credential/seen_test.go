package credential

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func jwt(claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(claims)) + ".c2ln"
}

func knows(t *testing.T, s Source, registry, repository string) string {
	t.Helper()
	got, err := s.Authorization(t.Context(), registry, repository)
	if err != nil {
		t.Fatalf("%s/%s: %v", registry, repository, err)
	}
	return got
}

func TestSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Seen
		if got := knows(t, &s, "r.test", "a"); got != "" {
			t.Errorf("at first: %q", got)
		}
		s.Accepted("Index.docker.io", "nginx", "Bearer one")
		if got := knows(t, &s, "docker.io", "library/nginx"); got != "Bearer one" {
			t.Errorf("by another name of the same place: %q", got)
		}
		for _, other := range [][2]string{{"docker.io", "library/nginx2"}, {"docker.io", "nginx/x"}, {"r.test", "library/nginx"}} {
			if got := knows(t, &s, other[0], other[1]); got != "" {
				t.Errorf("%v: %q", other, got)
			}
		}
		s.Accepted("docker.io", "library/nginx", "Bearer two")
		if got := knows(t, &s, "docker.io", "nginx"); got != "Bearer two" {
			t.Errorf("after another token: %q", got)
		}
		s.Accepted("docker.io", "nginx", "")
		s.Accepted("docker.io", "nginx", "Bearer "+strings.Repeat("x", maxSeenLength))
		s.Accepted("not a host", "nginx", "Bearer x")
		if got := knows(t, &s, "docker.io", "nginx"); got != "Bearer two" {
			t.Errorf("after what cannot be remembered: %q", got)
		}
		if _, err := s.Authorization(t.Context(), "not a host", "nginx"); err == nil {
			t.Error("a bad name is no error")
		}
		time.Sleep(tokenLife)
		if got := knows(t, &s, "docker.io", "nginx"); got != "" {
			t.Errorf("after its life: %q", got)
		}
	})
}

func TestLifeOf(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	exp := func(d time.Duration) string {
		return "Bearer " + jwt(fmt.Sprintf(`{"sub":"x","exp":%d}`, now.Add(d).Unix()))
	}
	for authorization, want := range map[string]time.Duration{
		exp(300 * time.Second):          290 * time.Second,
		exp(20 * time.Second):           18 * time.Second,
		exp(24 * time.Hour):             time.Hour,
		exp(0):                          0,
		"bearer opaque":                 tokenLife,
		"Bearer a.b.c":                  tokenLife,
		"Bearer " + jwt(`{}`):           tokenLife,
		"Bearer " + jwt(`[]`):           tokenLife,
		"Bearer " + jwt(`{"exp":"x"}`):  tokenLife,
		"Bearer " + jwt(`{"exp":-1}`):   tokenLife,
		"Bearer " + jwt(`{"exp":1e30}`): tokenLife,
		"Basic dTpw":                    passwordLife,
	} {
		if got := lifeOf(authorization, now); got != want {
			t.Errorf("%s: %v, want %v", authorization, got, want)
		}
	}
	if life := lifeOf(exp(-time.Minute), now); life > 0 {
		t.Errorf("an expired token lives for %v", life)
	}
}

func TestSeenForgetsAtExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Seen
		s.Accepted("r.test", "a", "Bearer "+jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(100*time.Second).Unix())))
		time.Sleep(89 * time.Second)
		if knows(t, &s, "r.test", "a") == "" {
			t.Error("forgotten before its end")
		}
		time.Sleep(time.Second)
		if got := knows(t, &s, "r.test", "a"); got != "" {
			t.Error("remembered at its end")
		}
		s.Accepted("r.test", "a", "Bearer good")
		s.Accepted("r.test", "a", "Bearer "+jwt(`{"exp":1}`))
		if got := knows(t, &s, "r.test", "a"); got != "Bearer good" {
			t.Errorf("an expired token took the place of a good one: %q", got)
		}
	})
}

func TestSeenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Seen
		s.Accepted("r.test", "first", "Bearer x")
		for i := range 3 * maxSeen {
			s.Accepted("r.test", fmt.Sprint("many/", i), "Basic x")
			if len(s.held) > maxSeen {
				t.Fatalf("%d held", len(s.held))
			}
		}
		if knows(t, &s, "r.test", fmt.Sprint("many/", 3*maxSeen-1)) == "" {
			t.Error("the last one is forgotten")
		}
		if knows(t, &s, "r.test", "first") != "" {
			t.Error("what ends first is still there")
		}
	})
}

func FuzzExpiry(f *testing.F) {
	f.Add(jwt(`{"exp":1700000000}`))
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		at, ok := expiryOf(token)
		if ok && (at.Year() < 1970 || at.Year() > 9999) {
			t.Errorf("%q ends at %v", token, at)
		}
		now := time.Unix(1_700_000_000, 0)
		if life := lifeOf("Bearer "+token, now); life > maxSeenLife {
			t.Errorf("%q lives for %v", token, life)
		}
	})
}
