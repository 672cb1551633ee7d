#!/bin/sh
# generated.sh DOCUMENT COMMAND...: the lines between the document's "begin generated" and "end generated" are what the command prints.
# TG_UPDATE=1 writes them.
set -eu
document=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$@" > "$work/part"
awk -v part="$work/part" '
	/<!-- end generated/ { inside = 0 }
	!inside { print }
	/<!-- begin generated/ { inside = 1; found = 1; while ((getline line < part) > 0) print line }
	END { exit !found }' "$document" > "$work/new"
if [ -n "${TG_UPDATE:-}" ]; then
	cmp -s "$work/new" "$document" || cp "$work/new" "$document"
else
	diff -u "$document" "$work/new" || { echo "$document is stale; TG_UPDATE=1 ctest writes it" >&2; exit 1; }
fi
