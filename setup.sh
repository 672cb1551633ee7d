#!/bin/sh
# Installs what building and testing needs on Debian 12, 13 or Ubuntu 24.04. Does nothing when it is all there.
set -eu
packages="build-essential cmake ninja-build pkg-config libprotobuf-c-dev protobuf-c-compiler libyaml-dev libssl-dev libjansson-dev libelf-dev zlib1g-dev
libzip-dev uthash-dev libpng-dev check libmpfr-dev python3"
# Debian's copy of the ONNX conformance cases, LLVM for the simulator's translator, and a browser that opens the profile's page; everything builds
# and the tests run without them.
wanted="libonnx-testdata llvm-19-dev chromium"

missing=""
for p in $packages; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "setup.sh: needs root or sudo to install:$missing" >&2; exit 1; }
	sudo=sudo
fi
echo "setup.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
for p in $wanted; do
	$sudo apt-get install -y -qq --no-install-recommends "$p" >/dev/null 2>&1 || true
done
