#!/usr/bin/env bash
# Builds pounce as one static program for a machine's architecture, and prints the path of the program. Two clones of
# one commit give the same bytes: no path of the machine is in the program, and its toolchain is all that counts.
# usage: program.sh amd64|arm64 [PROFILE]    (CARGO_TARGET_DIR, CACHE as in the Makefile)
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${2:-release}
case $1 in
amd64) triple=x86_64-unknown-linux-gnu ;;
arm64) triple=aarch64-unknown-linux-gnu ;;
*) echo "no such architecture: $1" >&2 && exit 2 ;;
esac
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pounce}
if [ "$triple" != "$(rustc -vV | sed -n 's/^host: //p')" ]; then
  . packaging/cross.sh "$triple"
fi

# What rustc and the C compiler would write down of this machine: in messages of panics, and in `__FILE__`.
sysroot=$(${RUSTC:-rustc} --print sysroot)
flags=(-C target-feature=+crt-static)
c_flags=()
for map in "$PWD=/pounce" "$target=/target" "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$sysroot=/rust"; do
  flags+=("--remap-path-prefix=$map")
  c_flags+=("-ffile-prefix-map=$map")
done
# Symbols would be most of an unoptimised program.
export CARGO_PROFILE_DEV_DEBUG=none CARGO_PROFILE_DEV_STRIP=symbols
# Without --target, cargo would use the flags for build scripts, too, and build these anew.
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${flags[@]}" | sed 's/\x1f$//') CFLAGS="${c_flags[*]}" \
  cargo build --quiet --locked --package pounce --bin pounce --profile "$profile" --target "$triple" >&2
[ "$profile" != dev ] || profile=debug
echo "$target/$triple/$profile/pounce"
