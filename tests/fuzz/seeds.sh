#!/bin/sh
# seeds.sh TEGULA MODEL.onnx REGRESSIONS FOLDER: seed files of the kinds that are not kept in the repository.
set -e
tegula=$1 model=$2 regressions=$3 out=$4
cp "$model" "$out/small.onnx"
small=$regressions/bool_reduction.tir
"$tegula" compile "$small" -o "$out/small.tgx"
"$tegula" disasm "$out/small.tgx" > "$out/small.tgs"
"$tegula" chips --random 5 > "$out/random.yaml"
"$tegula" opt "$model" --stop-after fold_affine > "$out/graph.tir"
"$tegula" opt "$small" > "$out/tile.tir"
"$tegula" opt "$small" --stop-after select > "$out/mach.tir"
"$tegula" run "$model" -o "$out/f32.npy" > /dev/null
