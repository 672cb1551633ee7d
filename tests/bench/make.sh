#!/bin/sh
# make.sh MAKE_NETWORK TEGULA WORK: same options give the same bytes, others do not; what is written is read; wrong options are refused.
set -eu
make=$1 tegula=$2 work=$3
rm -rf "$work"
mkdir -p "$work"
cd "$work"
fail() { echo "$*"; exit 1; }

"$make" gemm --size 20x30x40 -o a.onnx --data a.data
"$make" gemm --size 20x30x40 -o b.onnx
"$make" gemm --size 20x30x40 --seed 2 -o c.onnx
cmp a.onnx b.onnx || fail "same options, other bytes"
cmp -s a.onnx c.onnx && fail "another seed, same bytes"
for weights in f32 bf16 f16; do
	"$make" gemm --size 20x30x40 --weights $weights -o w.onnx
	"$tegula" check w.onnx --data a.data --all-nodes --rtol 1e-2 --atol 1e-3
done
"$make" mobilenetv2 --batch 2 -o m.onnx
"$tegula" info m.onnx > m.txt
grep -q 'Conv: 52' m.txt || fail "MobileNetV2 does not have 52 convolutions"
grep -q '2x3x224x224' m.txt || fail "the batch was not taken"
[ "$("$make" --list | wc -l)" -ge 8 ] || fail "the list is short"
for bad in 'nothing -o x.onnx' 'gemm' 'gemm -o x.onnx --size 0' 'gemm -o x.onnx --weights i8' 'gemm -o x.onnx --batch' 'gemm -o x.onnx --size 3x4'; do
	status=0
	# shellcheck disable=SC2086
	"$make" $bad 2> err.txt || status=$?
	[ $status = 2 ] || fail "'$bad': status $status, expected 2"
	grep -q 'error:' err.txt || fail "'$bad': no message"
done
status=0
"$make" gemm --size 1048576 -o huge.onnx 2> err.txt || status=$?
[ $status = 5 ] || fail "a model of terabytes: status $status, expected 5"
status=0
"$make" gemm -o missing/x.onnx 2> err.txt || status=$?
[ $status = 6 ] || fail "no folder: status $status, expected 6"
[ -z "$(find . -name '*.tmp')" ] || fail "a temporary file stays"
