#!/bin/sh
# same_bytes.sh TEGULA ROOT WORK: one model gives one executable: twice, from another folder, by another path, in another locale, time zone and
# environment, with other stack and heap addresses, and by the other build when there is an up-to-date one.
set -eu
tegula=$1 root=$2 work=$3
model=$root/examples/digits/digits.onnx
rm -rf "$work"
mkdir -p "$work/elsewhere"
cp "$model" "$work/elsewhere"
# The two compilers' and presets' programs: only those that are newer than every source.
others=""
for other in release dev clang; do
	program=$root/build/$other/tegula
	[ -x "$program" ] && [ "$program" != "$tegula" ] || continue
	newer=$(find "$root" -path "$root/build" -prune -o \( -name '*.[ch]' -o -name '*.def' -o -name '*.yaml' \) -newer "$program" -print | head -1)
	if [ -z "$newer" ]; then others="$others $program"; else echo "build/$other is older than $newer: not compared"; fi
done
python3 "$root/tests/layers/models.py" "$work/elsewhere"
for chip in t1 t1-edge; do
	"$tegula" compile "$model" --chip $chip -o "$work/$chip.tgx"
	same() { cmp "$work/$chip.tgx" "$work/again.tgx" || { echo "$chip: $1 gives other bytes"; exit 1; }; rm "$work/again.tgx"; }
	"$tegula" compile "$model" --chip $chip -o "$work/again.tgx"
	same "a second run"
	(cd "$work/elsewhere" && "$tegula" compile ./digits.onnx --chip $chip -o ../again.tgx)
	same "another folder and path"
	(cd / && LC_ALL=de_DE.UTF-8 LANG=tr_TR.UTF-8 TZ=Asia/Kathmandu MALLOC_PERTURB_=85 "$tegula" compile "$model" --chip $chip -o "$work/again.tgx")
	same "another locale and freshly filled heap"
	env -i A="$(head -c 5000 /dev/zero | tr '\0' a)" "$tegula" compile "$model" --chip=$chip -o "$work/again.tgx"
	same "another environment"
	for each in "$work"/elsewhere/*.onnx; do
		"$tegula" compile "$each" --chip $chip -o "$work/$chip.tgx" 2> "$work/messages"
		for program in $others; do
			"$program" compile "$each" --chip $chip -o "$work/again.tgx" 2> "$work/messages"
			same "$program for $(basename "$each")"
		done
	done
done
