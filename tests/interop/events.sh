#!/usr/bin/env bash
# Events: distribution 2.8 and pounce send theirs to one receiver, for the same requests of docker, containerd and
# skopeo, and of a script that makes each request by hand. What differs after ids, times and addresses are normalised
# is a failure.
# usage: events.sh PATH_TO_POUNCE    (as root)
set -u
POUNCE=$(realpath "${1:?the pounce program}")
HERE=$(dirname "$(realpath "$0")")
. "$HERE/lib.sh"

E=127.0.0.1:$(free_port)
mkdir received
python3 "$HERE/events.py" receive "${E#*:}" received >receiver.log 2>&1 &
pids+=($!)
until_ok curl -s "http://$E/"
notifications() { # notifications PATH [SETTINGS-OF-EVENTS]: as YAML in one line
  local endpoint="{name: test, url: 'http://$E/$1', headers: {X-A: [b, c]}}"
  echo "{events: {includereferences: true${2:-}}, endpoints: [$endpoint]}"
}
distribution "$(in_folder "$W/d")
  delete: {enabled: true}
notifications: $(notifications distribution)" THEIRS
pounce OURS "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$W/p" \
  "REGISTRY_NOTIFICATIONS=$(notifications pounce ', blobpulls: true')"

each() { "$@" "$THEIRS" && "$@" "$OURS"; } # each COMMAND...: with the address of distribution, then with pounce's
compare() { python3 "$HERE/events.py" compare received "$THEIRS" "$OURS" "$@"; } # and forgets what was received

step requests each python3 "$HERE/events.py" requests
step requests-events compare 24

docker_build() { # without an image of a registry
  mkdir -p ctx && head -c 300000 /dev/urandom >ctx/a && printf 'FROM scratch\nCOPY a /a\n' >ctx/Dockerfile &&
    $D build -q --no-cache -t interop ctx && $D save -o interop.tar interop
}
docker_push() { $D tag interop "$1/interop/b:1" && $D push -q "$1/interop/b:1"; }
# docker keeps the manifest of its first pull, so it would not ask the second registry for it.
containerd_pull() { $C images pull --plain-http "$1/interop/b:1" && $C images rm --sync "$1/interop/b:1"; }
step docker-build docker_build
step docker-push each docker_push
step docker-push-events compare 3
step containerd-pull each containerd_pull
step containerd-pull-events compare 3

skopeo_copy() { skopeo copy -q --dest-tls-verify=false docker-archive:interop.tar "docker://$1/interop/c:1"; }
skopeo_pull() { rm -rf copied && skopeo copy -q --src-tls-verify=false "docker://$1/interop/c:1" dir:copied; }
skopeo_delete() { skopeo delete --tls-verify=false "docker://$1/interop/c:1"; }
step skopeo-push each skopeo_copy
step skopeo-push-events compare 3
step skopeo-pull each skopeo_pull
step skopeo-pull-events compare 3
step skopeo-delete each skopeo_delete
step skopeo-delete-events compare 3

verdict OURS.log
