#!/bin/sh
# verbs.sh TEGULA: the verbs' part of docs/cli.md, from the program's own help.
set -eu
for verb in $("$1" --help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
	printf '### %s\n\n```\n' "$verb"
	"$1" "$verb" --help
	printf '```\n\n'
done
