#!/bin/sh
# reject.sh TEGULA FOLDER: models that another engine refuses: a clear diagnostic and exit status 3 to 6, or a correct compile; without --dim, 2 is
# allowed too when the missing flags are listed. Never a crash, a hang or a trap.
tegula=$1 folder=$2 bad=0 n=0
[ -d "$folder" ] || { echo "skipped: the cases are not on this machine"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for d in "$folder"/*/; do
	n=$((n + 1))
	timeout 20 "$tegula" compile "$d/model.onnx" --dim '*=3' -o "$work/T.tgx" >"$work/out" 2>"$work/err"
	status=$?
	case $status in
	0) timeout 60 "$tegula" verify "$work/T.tgx" >/dev/null 2>"$work/err" || { echo "$d: compiled, but does not verify"; bad=1; } ;;
	3 | 4 | 5 | 6) grep -q 'error: ..' "$work/err" || { echo "$d: status $status without a diagnostic"; bad=1; } ;;
	*) echo "$d: status $status"; bad=1 ;;
	esac
	timeout 20 "$tegula" compile "$d/model.onnx" -o "$work/T.tgx" >"$work/out" 2>"$work/err"
	status=$?
	case $status in
	0 | 3 | 4 | 5 | 6) ;;
	2) grep -q -e '--dim' "$work/err" || { echo "$d: status 2 does not list the flags"; bad=1; } ;;
	*) echo "$d: without --dim: status $status"; bad=1 ;;
	esac
done
echo "$n models"
exit $bad
