#!/usr/bin/env bash
# Builds the last commit again, in a clone in a folder of its own, and compares every file with a list of hashes.
# usage: reproduce.sh SHA256SUMS [PROFILE]
set -euo pipefail
sums=$(realpath "$1")
folder=$(mktemp -d "${TMPDIR:-/tmp}/pounce-reproduce.XXXXXX")
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$(dirname "$0")/.." "$folder/pounce"
export CARGO_TARGET_DIR=$folder/target
"$folder/pounce/packaging/release.sh" "${2:-release}"
cd "$folder/target/dist" && sha256sum --check "$sums"
