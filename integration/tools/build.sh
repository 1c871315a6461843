#!/bin/bash
# build.sh <tool>...   builds tools of fixed versions and prints their folders.
#
# Each tool is a folder here with a recipe, and a go.mod where the tool can be
# had by a tool directive. A build goes to
#   ${XDG_CACHE_HOME:-$HOME/.cache}/darter/tools/<tool>-<version>-<go version>/
# and is used again as long as neither the recipe nor this script changed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/darter/tools
goversion=$(cd "$here" && GOWORK=off go env GOVERSION)

if [ $# -eq 0 ]; then
	echo "usage: build.sh <tool>..." >&2
	echo "tools:" $(cd "$here" && ls -d */recipe | sed 's,/recipe,,') >&2
	exit 2
fi

export CGO_ENABLED=0 GOWORK=off
unset GOOS GOARCH

say() { echo "tools: $*" >&2; }

# retry runs a command that needs the network up to three times.
retry() {
	local try
	for try in 1 2 3; do
		"$@" && return 0
		say "failed ($try of 3): $*"
		sleep $((try * 3))
	done
	return 1
}

# module_version prints the version of a module required by the go.mod in $PWD.
module_version() {
	awk -v m="$1" '$1 == m { print $2 } $1 == "require" && $2 == m { print $3 }' go.mod
}

# download_copy fetches $module@$version, compares its checksum with $sum and
# copies it to the folder $1. For modules that `go install` refuses.
download_copy() {
	local json dir got
	json=$(cd "$work" && retry go mod download -json "$module@$version")
	dir=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$json")
	got=$(sed -n 's/^\t"Sum": "\(.*\)",*$/\1/p' <<<"$json")
	if [ "$got" != "$sum" ]; then
		say "$module@$version has checksum $got, the recipe says $sum"
		return 1
	fi
	mkdir -p "$1"
	cp -r "$dir/." "$1"
	chmod -R u+w "$1"
}

# build puts the commands of the tool's own go.mod into the folder $1.
# A recipe may define its own.
build_default() {
	retry go mod download
	go build -mod=readonly -buildvcs=false -trimpath -ldflags "-s -w ${ldflags:-}" -o "$1/" tool
}

# one builds a single tool. It runs in a subshell, so a recipe's variables stay there.
one() {
	local tool=$1 dir out hash
	if [ ! -f "$here/$tool/recipe" ]; then
		say "no recipe for $tool"
		return 2
	fi
	cd "$here/$tool"
	build() { build_default "$1"; }
	# shellcheck disable=SC1091
	. ./recipe
	: "${version:?no version in $tool/recipe}"
	out=$cache/$tool-$version-$goversion
	# shellcheck disable=SC2012
	hash=$(cat "$here/build.sh" $(ls | LC_ALL=C sort) | sha256sum | cut -d' ' -f1)

	mkdir -p "$cache"
	exec 9>"$cache/.$tool.lock"
	flock 9
	if [ "$(cat "$out/.recipe" 2>/dev/null)" = "$hash" ]; then
		echo "$out"
		return 0
	fi
	say "building $tool $version"
	local start=$SECONDS
	work=$(mktemp -d "$cache/.$tool.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir "$work/bin"
	build "$work/bin" >&2 9>&-
	echo "$hash" >"$work/bin/.recipe"
	if [ -e "$out" ]; then
		mv "$out" "$work/old"
	fi
	mv "$work/bin" "$out"
	say "built $tool $version in $((SECONDS - start)) s"
	echo "$out"
}

main() {
	local tool
	for tool in "$@"; do
		(one "$tool")
	done
}

main "$@"
