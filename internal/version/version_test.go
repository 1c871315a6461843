package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestFromSettings(t *testing.T) {
	set := func(kv ...string) (s []debug.BuildSetting) {
		for i := 0; i < len(kv); i += 2 {
			s = append(s, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return s
	}
	for want, settings := range map[string][]debug.BuildSetting{
		"devel":                    nil,
		"devel-0123456789ab":       set("vcs.revision", "0123456789abcdef", "vcs.modified", "false"),
		"devel-0123456789ab-dirty": set("vcs.modified", "true", "vcs.revision", "0123456789abcdef"),
		"devel-abc":                set("vcs.revision", "abc"),
	} {
		if got := fromSettings(settings); got != want {
			t.Errorf("%v: %q, want %q", settings, got, want)
		}
	}
}

func TestLinkedVersionWins(t *testing.T) {
	defer func(v string) { Version = v }(Version)
	Version = "v1.2.3"
	if s := String(); !strings.HasPrefix(s, "v1.2.3 go1.") || strings.Count(s, " ") != 2 {
		t.Error(s)
	}
}
