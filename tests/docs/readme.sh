#!/bin/sh
# readme.sh TEGULA ROOT WORK: runs the commands of README.md's ```console test blocks in a copy of examples/digits and compares what they print.
# Numbers are masked; a line `...` stands for any lines. A command ends with 0, or with what a trailing `# exit N` says.
set -eu
tegula=$1 root=$2 work=$3
rm -rf "$work"
mkdir -p "$work/bin" "$work/case"
ln -s "$tegula" "$work/bin/tegula"
cp "$root"/examples/digits/* "$work/case"
PATH=$work/bin:$PATH
export PATH
cd "$work/case"

# N.cmd and N.want for every command
awk -v to="$work" '
	/^```console test/ { inside = 1; next }
	/^```/ { inside = 0 }
	inside && /^\$ / { n++; print substr($0, 3) > (to "/" n ".cmd"); printf "" > (to "/" n ".want"); next }
	inside { print > (to "/" n ".want") }' "$root/README.md"

mask() { sed -E 's/[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?/#/g; s/[ \t]+/ /g; s/ $//'; }

n=1 bad=0
while [ -e "$work/$n.cmd" ]; do
	want_status=$(sed -n 's/.*# exit \([0-9]*\)$/\1/p' "$work/$n.cmd")
	status=0
	sh -c "$(cat "$work/$n.cmd")" > "$work/$n.have" 2>&1 || status=$?
	mask < "$work/$n.have" > "$work/$n.have.masked"
	mask < "$work/$n.want" > "$work/$n.want.masked"
	if [ "$status" != "${want_status:-0}" ]; then
		echo "exit status $status, expected ${want_status:-0}: $(cat "$work/$n.cmd")"
		cat "$work/$n.have"
		bad=1
	elif ! awk -v want="$work/$n.want.masked" '
		BEGIN { while ((getline line < want) > 0) w[n++] = line; at = 0 }
		{
			if (w[at] == "..." && at + 1 < n && w[at + 1] == $0) at += 2
			else if (w[at] == "...") next
			else if (at < n && w[at] == $0) at++
			else { wrong = 1; exit }
		}
		END { while (w[at] == "...") at++; exit wrong || at < n }' "$work/$n.have.masked"; then
		echo "README.md differs: $(cat "$work/$n.cmd")"
		diff -u "$work/$n.want" "$work/$n.have" || true
		bad=1
	fi
	n=$((n + 1))
done
[ "$n" -gt 5 ] || { echo "README.md has no commands to test"; exit 1; }
echo "$((n - 1)) commands of README.md"
exit $bad
