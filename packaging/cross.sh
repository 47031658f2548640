# Sourced by program.sh: sets the compiler and the linker for `triple`, an architecture that is not this machine's, and
# fails with a sentence where there are none. Debian's `rustc-web` has a library for arm64 beside its own; it is
# unpacked into CACHE and not installed, because its package does not stand beside rustup's, or another rustc's.
[ "$triple" = aarch64-unknown-linux-gnu ] || { echo "$triple: only built on a machine of its kind" >&2 && exit 3; }
gnu=aarch64-linux-gnu
if ! $gnu-gcc --version >/dev/null 2>&1; then
  { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends gcc-$gnu libc6-dev-arm64-cross; } \
    >/dev/null || { echo "there is no $gnu-gcc: install gcc-$gnu and libc6-dev-arm64-cross" >&2 && exit 3; }
fi
export CC_aarch64_unknown_linux_gnu=$gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$gnu-gcc

unpack_rustc() { # unpack_rustc FOLDER: a rustc for amd64 and arm64
  local lists=$1/apt apt std llvm package
  apt=(-q -o "Dir::State::lists=$lists/state" -o "Dir::Cache=$lists/cache" -o APT::Architectures=amd64,arm64
    -o APT::Sandbox::User=root)
  depends() { apt-cache "${apt[@]}" depends --important "$1" | grep -oE "Depends: $2[0-9.]+" | sed 's/.* //;q'; }
  mkdir -p "$lists/state/partial" "$lists/cache/archives/partial" && apt-get "${apt[@]}" update &&
    std=$(depends libstd-rust-web-dev libstd-rust-web-) && llvm=$(depends "$std" libllvm) && cd "$1" &&
    apt-get "${apt[@]}" download rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64 "$std" "$llvm" || return 1
  for package in *.deb; do
    dpkg-deb -x "$package" . || return 1
  done
  rm -rf -- *.deb apt
}

if [ ! -e "$(rustc --print target-libdir --target "$triple")" ]; then
  rust=$CACHE/rust
  if ! [ -x "$rust/rustc" ]; then
    rm -rf "$rust" "$rust.new"
    { command -v apt-get >/dev/null && [ "$(dpkg --print-architecture)" = amd64 ] && (unpack_rustc "$rust.new"); } \
      >/dev/null || { echo "no Rust library for $triple: neither rustup's target nor Debian's rustc-web" >&2 && exit 3; }
    # The package names no folder for its libraries, because they would be in the linker's.
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$rust/usr/lib/x86_64-linux-gnu" "$rust/usr/bin/rustc" \
      >"$rust.new/rustc"
    chmod +x "$rust.new/rustc" && mv "$rust.new" "$rust"
  fi
  export RUSTC=$rust/rustc
fi
