#!/bin/bash
# debian.sh <package>...   installs the Debian packages that are missing.
#
# No service is started: a policy-rc.d that denies is in place during the install.
set -euo pipefail

policy=/usr/sbin/policy-rc.d

main() {
	if [ $# -eq 0 ]; then
		echo "usage: debian.sh <package>..." >&2
		exit 2
	fi
	if ! command -v dpkg-query >/dev/null; then
		echo "debian.sh: not a Debian: see yourself that you have $*" >&2
		return
	fi
	missing "$@"
	if [ ${#todo[@]} -eq 0 ]; then
		return
	fi
	if [ "$(id -u)" -ne 0 ]; then
		echo "debian.sh: missing ${todo[*]}; only root can install them" >&2
		exit 1
	fi

	exec 9>/run/lock/darter-debian.lock
	flock 9
	missing "$@" # another run may have been faster
	if [ ${#todo[@]} -eq 0 ]; then
		return
	fi
	echo "debian: installing ${todo[*]}" >&2
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	# The package lists may be absent or too old: update once, only if needed.
	install_todo || { apt-get update -qq >&2 9>&- && install_todo; }
	missing "$@"
	if [ ${#todo[@]} -ne 0 ]; then
		echo "debian.sh: still missing: ${todo[*]}" >&2
		exit 1
	fi
}

# missing sets todo to those packages that are not installed.
missing() {
	local package
	todo=()
	for package in "$@"; do
		if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
			todo+=("$package")
		fi
	done
}

install_todo() {
	apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -qq -y --no-install-recommends "${todo[@]}" >&2 9>&-
}

main "$@"
