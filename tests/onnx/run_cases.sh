#!/bin/sh
# run_cases.sh IMPORT_EVAL FOLDER...: every case beneath the folders; 77 (skipped) when there are none, 1 when one differs or fails.
program=$1
shift
found=0
for folder in "$@"; do
	[ -d "$folder" ] && found=1
done
if [ $found = 0 ]; then
	echo "no cases here: skipped"
	exit 77
fi
find "$@" -name model.onnx 2>/dev/null | sed 's|/model.onnx$||' | sort | xargs "$program" | awk -F '\t' '
	{ n[$1]++ } $1 != "pass" && $1 != "unsupported" { print; bad = 1 }
	END { for (k in n) printf "%s: %d  ", k, n[k]; print ""; exit bad }'
