#!/bin/sh
# links.sh ROOT: every relative link of README.md and docs/ leads to a file.
set -eu
cd "$1"
bad=0
for document in README.md docs/*.md; do
	for link in $(grep -o ']([^)#]*' "$document" | cut -c3- | grep -v '^[a-z]*://' || true); do
		[ -e "$(dirname "$document")/$link" ] || { echo "$document: no such file: $link"; bad=1; }
	done
done
exit $bad
