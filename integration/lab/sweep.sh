# sweep.sh <run folder>: waits until its standard input ends, then removes the
# run: processes, mounts, loop devices, network namespaces, cgroups, folders.
# It ends with 1 if anything resists.
set -u
trap '' INT TERM HUP QUIT
run=$1
id=${run##*/}
data=$(cat "$run/data" 2>/dev/null)
case $id in darter-lab-?*) ;; *) echo "not a run: $run"; exit 1 ;; esac
case $data in */"$id") ;; *) data=$run ;; esac

read -r _ # the end of the one who made the run

# owned prints the run's processes: those in its namespaces, those with its
# mark, and those of containers, which have mounts of the run in a mount
# namespace of their own.
owned() {
	local ns file
	for ns in /run/netns/"$id".*; do
		[ -e "$ns" ] && ip netns pids "${ns##*/}"
	done
	{
		grep -lzsx "DARTER_LAB=$id" /proc/[0-9]*/environ
		for file in $(grep -ls "/$id/" /proc/[0-9]*/mountinfo); do
			[ "${file%/*}/ns/mnt" -ef /proc/self/ns/mnt ] || echo "$file"
		done
	} | cut -d/ -f3
}

# below prints the mount points under the run's folders, the innermost first.
below() {
	awk -v a="$run/" -v b="$data/" 'index($5, a) == 1 || index($5, b) == 1 { print $5 }' /proc/self/mountinfo | tac
}

for try in 1 2 3 4 5 6 7 8 9 10; do
	pids=$(owned)
	[ -z "$pids" ] && break
	# shellcheck disable=SC2086
	kill -KILL $pids 2>/dev/null
	sleep 0.05
done
for mount in $(below); do
	umount "$mount" 2>/dev/null || umount -l "$mount"
done
losetup -l -n -O NAME,BACK-FILE 2>/dev/null | while read -r device file; do
	case $file in "$run"/* | "$data"/*) losetup -d "$device" ;; esac
done
for ns in /run/netns/"$id".*; do
	[ -e "$ns" ] && ip netns del "${ns##*/}"
done
[ -z "$(owned)$(below)" ] || { echo "processes or mounts are left"; exit 1; }
# Containers have their groups below /<id> of every hierarchy.
for group in /sys/fs/cgroup/"$id" /sys/fs/cgroup/*/"$id"; do
	[ -e "$group" ] && find "$group" -depth -type d -exec rmdir {} +
done
[ -e "$run/rmdir" ] && xargs -r rmdir <"$run/rmdir" 2>/dev/null
rm -rf --one-file-system "$data" && rm -rf --one-file-system "$run"
