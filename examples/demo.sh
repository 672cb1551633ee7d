#!/bin/sh
# demo.sh TEGULA: compiles the digit classifier for two chips, shows it a picture of a seven, and checks the numbers against the evaluator.
set -eu
tegula=$1
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for chip in t1 t1-edge; do
	echo "== $chip"
	"$tegula" compile "$here/digits/digits.onnx" --chip $chip -o "$work/digits.tgx"
	"$tegula" verify "$work/digits.tgx" | sed "s|$work/||"
	"$tegula" run "$work/digits.tgx" --image "$here/digits/seven.png" --top-k "$here/digits/labels.txt" | tee "$work/out"
	grep -q 'top 1 *seven' "$work/out"
	"$tegula" check "$here/digits/digits.onnx" --chip $chip
done
