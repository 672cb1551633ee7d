#!/bin/sh
# same_bytes.sh TEGULA MODEL FOLDER CASES: the same input gives the same bytes and the same report, however often and with however many jobs.
set -e
tegula=$1 model=$2 out=$3 cases=$4
for chip in t1 t1-edge; do
	"$tegula" compile "$model" --chip $chip -o "$out/a.tgx"
	"$tegula" compile "$model" --chip $chip -o "$out/b.tgx"
	"$tegula" compile "$model" --chip $chip --window 256 --unroll 8 -o "$out/c.tgx" # the defaults, said aloud
	cmp "$out/a.tgx" "$out/b.tgx"
	cmp "$out/a.tgx" "$out/c.tgx"
	cp "$model" "$out/copy.onnx" # another folder
	"$tegula" compile "$out/copy.onnx" --chip $chip -o "$out/d.tgx"
	cmp "$out/a.tgx" "$out/d.tgx"
done
if [ ! -d "$cases" ]; then
	echo "skipped in part: no conformance cases here"
	exit 0
fi
for jobs in 1 2; do
	"$tegula" test "$cases" --sample 80 --jobs $jobs --json "$out/$jobs.json" > /dev/null
	sed 's/"seconds": *[0-9.e+-]*//g' "$out/$jobs.json" > "$out/$jobs.txt"
done
cmp "$out/1.txt" "$out/2.txt"
