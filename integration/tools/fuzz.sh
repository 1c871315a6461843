#!/bin/bash
# fuzz.sh   runs every fuzz target of the module, two for each CPU at a time.
#
# A target spends at most 20 tries on making an input shorter: the default, a
# minute for every new input, is all the time there is where inputs are long.
#
# FUZZTIME: how long each, default 30s. FUZZ: a regular expression that the
# target's name must match, default all.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fuzztime=${FUZZTIME:-30s}
only=${FUZZ:-^Fuzz}
cpus=$(nproc)
jobs=$((cpus * 2))

# run fuzzes the target $2 of package $1 and prints its output if it fails.
run() {
	local out try start=$SECONDS
	out=$(mktemp)
	for try in 1 2; do
		if nice go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -fuzzminimizetime 20x -parallel "$workers" "$1" >"$out" 2>&1; then
			echo "ok   $2 $((SECONDS - start))s $1"
			rm "$out"
			return 0
		fi
		# The end of -fuzztime itself may be taken for a failure: that wrote no input.
		if ! grep -q 'context deadline exceeded' "$out" || grep -q 'Failing input written' "$out"; then
			break
		fi
	done
	echo "FAIL $2 $1"
	cat "$out"
	rm "$out"
	return 1
}

# targets prints "package name" for each fuzz target.
targets() {
	local dirs
	dirs=$({ grep -rl --include='*_test.go' '^func Fuzz' . || true; } | xargs -r -n1 dirname | sort -u)
	if [ -z "$dirs" ]; then
		return
	fi
	# shellcheck disable=SC2086
	go test -list "$only" $dirs | awk '
		/^Fuzz/ { names[n++] = $1 }
		/^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }'
}

export -f run
export fuzztime workers=$(((cpus + jobs - 1) / jobs))
list=$(targets)
if [ -z "$list" ]; then
	echo "no fuzz targets"
	exit 0
fi
echo "$(wc -l <<<"$list") fuzz targets, $fuzztime each"
# shellcheck disable=SC2016
xargs -P "$jobs" -L 1 bash -c 'run "$1" "$2"' fuzz <<<"$list"
