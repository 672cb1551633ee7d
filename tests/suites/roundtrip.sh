#!/bin/sh
# roundtrip.sh TEGULA MODEL...: IR text printed after each pass, read back, compiles to the same executable. 77 when no model is there.
tegula=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
for model in "$@"; do
	[ -f "$model" ] || continue
	for how in f32:fold_affine f32:expand f32:fuse f32:split_i64 f32:select bf16:expand bf16:precision; do
		pass=${how#*:}
		precision="--precision ${how%:*}"
		[ "$how" != f32:fold_affine ] && [ "$how" != bf16:expand ] ||
			"$tegula" compile "$model" --dim '*=1' $precision -o "$work/a.tgx" 2>/dev/null || { echo "$model does not compile"; exit 1; }
		n=$((n + 1))
		rm -f "$work/b.tgx"
		"$tegula" compile "$model" --dim '*=1' $precision --print-after $pass --stop-after $pass >"$work/x.tir" 2>/dev/null &&
			"$tegula" compile "$work/x.tir" -o "$work/b.tgx" 2>"$work/err" && cmp "$work/a.tgx" "$work/b.tgx" ||
			{ echo "$model differs after $pass in ${how%:*}"; cat "$work/err"; exit 1; }
	done
done
[ $n -gt 0 ] || { echo "skipped: the models are not on this machine"; exit 77; }
echo "$n texts"
