#!/usr/bin/env bash
# Makes what a release has, in $CARGO_TARGET_DIR/dist: for each architecture a static program in an archive, a Debian
# package and an SBOM; one OCI image for all of them; SHA256SUMS. Two clones of one commit give the same files.
# usage: release.sh [PROFILE]    (CARGO_TARGET_DIR, TOOLS, CACHE; ARCHITECTURES="amd64 arm64", MAINTAINER, DEB_VERSION)
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pounce}
export PATH=${TOOLS:-$CACHE/tools}/bin:$PATH TZ=UTC LC_ALL=C
# The time of everything that has one.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
version=$(cargo pkgid --locked --package pounce | sed 's/.*[#@]//')
dist=$target/dist work=$target/release-work
rm -rf "$dist" "$work"
mkdir -p "$dist" "$work/pages"
umask 022

cargo run --quiet --locked --package pounce-pages -- "$work/pages" "$(date -d "@$SOURCE_DATE_EPOCH" +%F)"
maintainer=${MAINTAINER:-$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)}
deb_version=${DEB_VERSION:-$version-1}

# archive NAME FOLDER: FOLDER as NAME.tar.gz, with nothing of the machine
archive() {
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --format=ustar --directory "$(dirname "$2")" "$(basename "$2")" | gzip -9n >"$dist/$1.tar.gz"
}

built=()
for architecture in ${ARCHITECTURES:-amd64 arm64}; do
  if ! program=$(packaging/program.sh "$architecture" "$profile"); then
    echo "no program for $architecture: see the message above" >&2
    # The machine's own architecture has to be there.
    [ "$architecture" != "$(dpkg --print-architecture)" ] || exit 1
    continue
  fi
  built+=("$architecture")
  triple=$(basename "$(dirname "$(dirname "$program")")")
  # What cargo-deb takes for the folder of cargo's builds, whatever the profile.
  files=$work/target/$triple/release
  mkdir -p "$files"
  cp -r "$program" "$work/pages/." "$files"
  packaging/sbom.py "$triple" "$dist/pounce-$version-$architecture.cdx.json" "$files/NOTICES"
  cat >"$files/changelog.Debian" <<C
pounce ($deb_version) stable; urgency=medium

  * Release $version; changelog.gz has its changes.

 -- $maintainer  $(date -R -d "@$SOURCE_DATE_EPOCH")
C
  folder=$work/$architecture/pounce-$version-linux-$architecture
  mkdir -p "$folder"
  cp -r "$files/pounce" "$files/NOTICES" "$files/man1" "$files/completions" LICENSE CHANGELOG.md config/registry.yml \
    "$folder"
  archive "$(basename "$folder")" "$folder"
  packaging/root.sh "$files/pounce" "$work/image-$architecture" "$files/NOTICES"

  gzip -9n "$files"/man1/* "$files/changelog.Debian" "$files/NOTICES"
  CARGO_TARGET_DIR=$work/target cargo deb --quiet --locked --package pounce --no-build --no-strip --target "$triple" \
    --deb-version "$deb_version" --maintainer "$maintainer" --output "$dist/"
done
packaging/image.sh "$work" "$dist/pounce-$version-oci.tar" "$version" "${built[@]}"
cd "$dist"
sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS
echo "$dist:" && cat SHA256SUMS
