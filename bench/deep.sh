#!/bin/sh
# deep.sh TEGULA MAKE_NETWORK: processor time to compile graphs of 2,000 and of 20,000 nodes, and how many times as much the second one takes. The factor
# should be near 10: nothing grows faster than the graph.
set -eu
tegula=$1
make_network=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for nodes in 2000 20000; do
	"$make_network" deep --size "${nodes}x8x32" -o "$work/$nodes.onnx" >"$work/made"
	bash -c 'TIMEFORMAT="%U %S"; time "$0" compile "$1" -o "$2"' "$tegula" "$work/$nodes.onnx" "$work/$nodes.tgx" 2>"$work/$nodes.time"
done
awk 'FNR == 1 { t[++n] = $1 + $2 } END { printf "compile, 2,000 nodes: %.2f s; 20,000 nodes: %.2f s; %.1f times as much\n", t[1], t[2], t[2] / (t[1] > 0 ? t[1] : 0.001) }' "$work/2000.time" "$work/20000.time"
