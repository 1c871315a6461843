// Package version says which build of darter this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// Version is set by the linker: -X github.com/darter-p2p/darter/internal/version.Version=v1.2.3
var Version string

// Number returns the version, such as "v1.2.3"; of a build without one, the revision
// that the Go tool recorded, else "devel".
func Number() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return fromSettings(info.Settings)
}

func fromSettings(settings []debug.BuildSetting) string {
	revision, dirty := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + dirty
}

// String returns one line for --version: the number, the Go version and the platform.
func String() string {
	return Number() + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
