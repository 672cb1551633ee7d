#!/bin/sh
# suite.sh TEGULA REPORT FOLDER... -- OPTIONS...: runs `tegula test` on those of the folders that exist; 77 (skipped) when none does.
tegula=$1 report=$2
shift 2
folders=""
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
	[ -d "$1" ] && folders="$folders $1"
	shift
done
[ $# -gt 0 ] && shift
if [ -z "$folders" ]; then
	echo "skipped: the cases are not on this machine"
	exit 77
fi
# shellcheck disable=SC2086
exec "$tegula" test $folders --json "$report" "$@"
