#!/usr/bin/env bash
# Makes the OCI image of the last stage of Dockerfile, of files that are there: without docker, a network or a base
# image. With one architecture or more, in one index.
# usage: image.sh FOLDER ARCHIVE VERSION ARCHITECTURE...    (FOLDER/image-ARCHITECTURE: by root.sh)
set -euo pipefail
dockerfile=$(realpath "$(dirname "$0")/../Dockerfile") folder=$1 archive=$2 version=$3
shift 3
cd "$folder"
# An OCI image has no health check.
sed -n '/^FROM scratch/,$ { /^HEALTHCHECK/d; s/--from=build //; s| /image/| image/|; p }' "$dockerfile" >Containerfile
# A store of its own, so that no other image, and no setting of the machine, counts.
buildah=(buildah --root "$PWD/storage" --runroot "$PWD/run" --storage-driver vfs)
trap '"${buildah[@]}" rmi --all --force >/dev/null 2>&1; rm -rf storage run' EXIT
"${buildah[@]}" manifest create pounce >/dev/null
for architecture; do
  rm -rf context && mkdir context && mv "image-$architecture" context/image
  "${buildah[@]}" build --quiet --format oci --timestamp "$SOURCE_DATE_EPOCH" --platform "linux/$architecture" \
    --isolation chroot --identity-label=false --manifest pounce \
    --annotation "org.opencontainers.image.version=$version" --label "org.opencontainers.image.version=$version" \
    --file Containerfile context >/dev/null
done
"${buildah[@]}" manifest push --quiet --all --format oci pounce "oci:$PWD/layout:$version" >/dev/null
tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar \
  --directory layout . >"$archive"
