#!/bin/sh
# sim.sh TEGULA BENCH_SIM [MODEL.onnx...]: compiles the models for both chips and measures the simulator on them; translated code is kept between
# the two passes, so the second shows what a repeated run costs. Without models: the example and what ../shared/models offers. ONNX Runtime's time on one
# thread stands beside where node finds onnxruntime-node, in NODE_PATH or build/ort (`make bench-sim ORT=1` asks npm for it, without its install scripts).
set -eu
tegula=$1
bench=$2
shift 2
here=$(cd "$(dirname "$0")/.." && pwd)
if [ $# = 0 ]; then
	set -- "$here/examples/digits/digits.onnx"
	for m in classification/squeezenet_fp32 classification/squeezenet_fp16 light-cnn/shufflenet_seeded light-cnn/inception_v1_seeded segmentation/deeplabv3_mnv2_257 \
		quantized/squeezenet_qdq_u8 detection/ultraface_rfb320 landmark/face_landmark_192; do
		[ ! -f "$here/../shared/models/$m/model.onnx" ] || set -- "$@" "$here/../shared/models/$m/model.onnx"
	done
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ort="$here/bench/ort.js"
NODE_PATH="$here/build/ort/node_modules${NODE_PATH:+:$NODE_PATH}"
export NODE_PATH
for model; do
	name=$(basename "$model" .onnx)
	[ "$name" != model ] || name=$(basename "$(dirname "$model")")
	for chip in t1 t1-edge; do
		"$tegula" compile "$model" --chip $chip -o "$work/$name.$chip.tgx" >/dev/null || echo "$name does not compile for $chip" >&2
	done
	node "$ort" "$model" 2>/dev/null || true
done
"$bench" --runs 1 --engines jit --cache "$work/cache" "$work"/*.tgx >/dev/null
"$bench" --runs 5 --cache "$work/cache" "$work"/*.tgx
