#!/bin/sh
# random_chip.sh TEGULA SEED NODE_CASES MODEL...: a chip of random numbers runs a sample of the conformance cases and a few models; 77: no cases here.
tegula=$1 seed=$2 node=$3
shift 3
echo "random chip, seed $seed: tegula chips --random $seed"
chip=$(mktemp -d)/chip.yaml
trap 'rm -rf "$(dirname "$chip")"' EXIT
"$tegula" chips --random "$seed" > "$chip" || exit 1
tr '\n' ' ' < "$chip"
echo
status=77
if [ -d "$node" ]; then
	status=0
	"$tegula" test "$node" --chip "$chip" --sample 60 --verify --timeout 120 || exit 1
fi
for model in "$@"; do
	[ -d "$model" ] || continue
	status=0
	"$tegula" test "$model" --chip "$chip" --verify --timeout 300 || exit 1
done
exit $status
