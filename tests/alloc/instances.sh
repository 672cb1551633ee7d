#!/bin/sh
# instances.sh TEGULA CHECK.py WORK SECONDS FOLDER: every NAME.CAPACITY.csv fits, twice the same way, in at most SECONDS; a checker of its own says so.
set -eu
tegula=$1 check=$2 work=$3 seconds=$4 folder=$5
[ -d "$folder" ] || { echo "no instances at $folder: skipped"; exit 77; }
rm -rf "$work"
mkdir -p "$work"
bad=0 n=0
for file in "$folder"/*.csv; do
	name=$(basename "$file" .csv)
	capacity=${name##*.}
	start=$(date +%s%N)
	timeout "$seconds" "$tegula" alloc "$file" --capacity "$capacity" -o "$work/$name.out" > "$work/$name.txt" || { echo "$name: status $?"; bad=1; continue; }
	took=$((($(date +%s%N) - start) / 1000000))
	python3 "$check" "$file" "$work/$name.out" "$capacity" || { echo "$name: the offsets are wrong"; bad=1; }
	"$tegula" alloc "$file" --capacity "$capacity" | cmp - "$work/$name.out" || { echo "$name: another result the second time"; bad=1; }
	echo "$name: $took ms, $(grep searched "$work/$name.txt")"
	n=$((n + 1))
done
echo "$n instances"
[ "$n" -gt 0 ] || bad=1
exit $bad
