#!/bin/sh
# roundtrip.sh TEGULA MODEL...: IR text printed after each pass, read back, compiles to the same executable. 77 when no model is there.
tegula=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
for model in "$@"; do
	[ -f "$model" ] || continue
	"$tegula" compile "$model" --dim '*=1' -o "$work/a.tgx" 2>/dev/null || { echo "$model does not compile"; exit 1; }
	for pass in fold_affine expand fuse split_i64 select; do
		n=$((n + 1))
		rm -f "$work/b.tgx"
		"$tegula" compile "$model" --dim '*=1' --print-after $pass --stop-after $pass >"$work/x.tir" 2>/dev/null &&
			"$tegula" compile "$work/x.tir" -o "$work/b.tgx" 2>"$work/err" && cmp "$work/a.tgx" "$work/b.tgx" ||
			{ echo "$model differs after $pass"; cat "$work/err"; exit 1; }
	done
done
[ $n -gt 0 ] || { echo "skipped: the models are not on this machine"; exit 77; }
echo "$n texts"
