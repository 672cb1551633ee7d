#!/bin/sh
# alloc.sh TEGULA FOLDER: the SRAM allocator on every NAME.CAPACITY.csv of a folder: time, nodes, peak.
set -eu
tegula=$1 folder=$2
[ -d "$folder" ] || { echo "no allocation instances at $folder"; exit 0; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0
printf '\n%-16s %10s %8s  %s\n' instance capacity ms result
for file in "$folder"/*.csv; do
	name=$(basename "$file" .csv)
	capacity=${name##*.}
	start=$(date +%s%N)
	result=$("$tegula" alloc "$file" --capacity "$capacity" -o "$out" 2>&1) || bad=1
	printf '%-16s %10s %8s  %s\n' "${name%.*}" "$capacity" $((($(date +%s%N) - start) / 1000000)) "$(echo "$result" | sed -n '/peak\|searched\|error/s/  */ /gp' | tr '\n' ';')"
done
exit $bad
