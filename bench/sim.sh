#!/bin/sh
# sim.sh TEGULA BENCH_SIM MAKE_NETWORK [MODEL.onnx|FOLDER...]: compiles models for each chip of CHIPS (t1 t1-edge) and measures the simulator on them, a table a
# chip, the last line for all of it. Folders stand for the model.onnx below them; unknown dimensions are those of a test_data_set beside the model, else 1. Translated code is kept between a first pass and the one that is measured, so
# `ready` shows what a repeated run costs; what compilation and the first translation took stands before the table. Without models: the example, three of make_network,
# and what ../shared/models offers. ONNX Runtime's time on one thread stands at the end of a row where node finds onnxruntime-node, in NODE_PATH or
# build/ort (`make bench-sim ORT=1` asks npm for it, without its install scripts).
set -eu
tegula=$1
bench=$2
network=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NODE_PATH="$here/build/ort/node_modules${NODE_PATH:+:$NODE_PATH}"
export NODE_PATH
if [ $# = 0 ]; then
	set -- "$here/examples/digits/digits.onnx"
	for m in classification/squeezenet_fp32 classification/squeezenet_fp16 light-cnn/shufflenet_seeded light-cnn/light_resnet50 segmentation/deeplabv3_mnv2_257 \
		quantized/squeezenet_qdq_u8 detection/ultraface_rfb320 detection/yunet_n_320 landmark/face_landmark_192 text/byte_bidi_lstm; do
		[ ! -f "$here/../shared/models/$m/model.onnx" ] || set -- "$@" "$here/../shared/models/$m/model.onnx"
	done
	for n in resnet50 mobilenetv2 bert-base; do
		"$network" $n -o "$work/$n.onnx" >/dev/null
		set -- "$@" "$work/$n.onnx"
	done
fi
for at; do
	if [ -d "$at" ]; then find "$at" -name model.onnx | sort; else echo "$at"; fi
done >"$work/models"
while read -r model; do
	name=$(basename "$model" .onnx)
	[ "$name" != model ] || name=$(basename "$(dirname "$model")")
	shapes= # of the inputs, as compiled
	for chip in ${CHIPS:-t1 t1-edge}; do
		mkdir -p "$work/$chip"
		start=$(date +%s.%N)
		data=$(find "$(dirname "$model")" -maxdepth 1 -name 'test_data_set_*' | sort | head -n 1)
		if "$tegula" compile "$model" ${data:+--data "$data"} --dim '*=1' --chip "$chip" -o "$work/$chip/$name.tgx" >/dev/null 2>&1; then
			echo "$start $(date +%s.%N)" >>"$work/$chip.seconds"
			shapes=$("$tegula" info "$work/$chip/$name.tgx" | awk '$1 == "input" { print $2 $4 }')
		else
			echo "$name does not compile for $chip" >&2
		fi
	done
	# shellcheck disable=SC2086 # a word a shape
	echo "$name $(node "$here/bench/ort.js" "$model" $shapes 2>/dev/null || true)" >>"$work/ort"
done <"$work/models"
for chip in ${CHIPS:-t1 t1-edge}; do
	awk -v chip="$chip" '{ s += $2 - $1 } END { printf "%s: compiled in %.1f s", chip, s }' "$work/$chip.seconds"
	"$bench" --runs 1 --engines jit --cache "$work/cache" "$work/$chip"/*.tgx |
		awk '/\.tgx/ { s += $8 } END { printf ", translated in %.1f s\n", s / 1e3 }'
	"$bench" --runs "${RUNS:-5}" --cache "$work/cache" "$work/$chip"/*.tgx | awk -v ort="$work/ort" '
		BEGIN { while ((getline line < ort) > 0) { split(line, f, " "); ms[f[1] ".tgx"] = f[2] } }
		$1 in ms && ms[$1] != "" { printf "%s | ONNX Runtime %.1f ms, %.2f times\n", $0, ms[$1], $9 / ms[$1]; next }
		{ print }'
done
