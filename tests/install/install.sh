#!/bin/sh
# install.sh CMAKE BUILD SOURCE CC PREFIX: installs, builds examples/api/classify.c against the result and runs it.
set -eu
cmake=$1 build=$2 source=$3 cc=$4 prefix=$5
model=$source/examples/digits/digits.onnx
rm -rf "$prefix"
"$cmake" --install "$build" --prefix "$prefix" > /dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tegula.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_PATH

"$prefix/bin/tegula" --version | grep -q "^tegula $(pkg-config --modversion tegula)\$"
[ "$(ls "$prefix/share/tegula/chips")" = "$(cd "$source/isa/chips" && ls -- *.yaml)" ]
bash -c ". '$prefix/share/bash-completion/completions/tegula' && COMP_WORDS=(tegula dis) COMP_CWORD=1 && _tegula && [ \"\${COMPREPLY[*]}\" = disasm ]"

exported=$(nm -D --defined-only "$libdir/libtegula.so" | awk '{ print $3 }' | grep -v '^tegula_' || true)
[ -z "$exported" ] || { echo "libtegula.so exports: $exported"; exit 1; }
exported=$(nm -g --defined-only "$libdir/libtegula.a" | awk 'NF == 3 { print $3 }' | grep -v '^tegula_' || true)
[ -z "$exported" ] || { echo "libtegula.a exports: $exported"; exit 1; }

# shellcheck disable=SC2046
{
	"$cc" -std=c11 -Wall -Wextra -Werror "$source/examples/api/classify.c" $(pkg-config --cflags --libs tegula) -Wl,-rpath,"$libdir" -o "$prefix/shared"
	"$cc" -std=c11 "$source/examples/api/classify.c" $(pkg-config --cflags tegula) "$libdir/libtegula.a" \
		$(pkg-config --static --libs tegula | sed 's/-ltegula//g') -o "$prefix/static"
}
for chip in t1 t1-edge v4i "$prefix/share/tegula/chips/t1-edge.yaml"; do
	"$prefix/shared" "$model" "$chip" | tee "$prefix/out.shared"
	"$prefix/static" "$model" "$chip" | cmp - "$prefix/out.shared"
	grep -q '^probabilities\[[0-9]\] = 0\.[0-9]* after [0-9]* cycles$' "$prefix/out.shared"
done
! "$prefix/shared" /nonexistent.onnx 2>/dev/null
