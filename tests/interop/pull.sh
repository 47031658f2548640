#!/usr/bin/env bash
# Real clients pull through pounce, each an image of its own, twice: docker, podman, containerd's ctr
# as a mirror of docker.io, and skopeo. After the first pull, none may cause a request upstream or move
# a blob's bytes through pounce; after each, the client has the right content.
# usage: pull.sh PATH_TO_POUNCE    (as root; the Debian packages are in the Makefile)
# Prints a line a step: name, exit status, milliseconds, last line of output. Exits 1 if any failed.
set -u
POUNCE=$(realpath "${1:?the pounce program}")
. "$(dirname "$(realpath "$0")")/lib.sh"

# --- the upstream: distribution, with its access log
distribution "$(in_folder "$W/upstream")" U
upstream_requests() { grep -c 'response completed' U.log; }

# --- pounce in front of it
M=127.0.0.1:$(free_port)
pounce R REGISTRY_HTTP_DEBUG_ADDR="$M" REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED=true \
  REGISTRY_PROXY_REMOTEURL="http://$U" REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket"
metric() { curl -sf "http://$M/metrics" | awk -v m="pounce_$1" 'index($1, m) == 1 { sum += $2 } END { print sum + 0 }'; }
idle() { [ "$(metric background_tasks)" = 0 ]; }
mkdir -p hosts/docker.io
printf 'server="https://registry-1.docker.io"\n[host."http://%s"]\n capabilities=["pull","resolve"]\n' "$R" >hosts/docker.io/hosts.toml

# --- an image for each client, pushed to the upstream: Docker's format, and for two of them the OCI's
docker_image() { make_image "$1" docker "$U" && $D push -q "$U/interop/$1:1" && $D rmi -f "$U/interop/$1:1"; }
podman_image() { make_image "$1" oci "$U" && podman push -q --tls-verify=false "$U/interop/$1:1" && podman rmi -a -f; }
step make-docker docker_image docker
step make-podman podman_image podman
step make-ctr docker_image ctr
step make-skopeo podman_image skopeo

# --- each pulls twice, and checks the content
docker_pull() { $D pull -q "$R/interop/docker:1"; }
docker_content() { same docker $D run --rm "$R/interop/docker:1"; }
docker_remove() { $D rmi -f "$R/interop/docker:1"; }
podman_pull() { podman pull -q --tls-verify=false "$R/interop/podman:1"; }
podman_content() { same podman podman run --rm --network none "$R/interop/podman:1"; }
podman_remove() { podman rmi -a -f; }
ctr_pull() { $C i pull --hosts-dir hosts docker.io/interop/ctr:1; }
ctr_content() { same ctr $C run --rm docker.io/interop/ctr:1 "c$RANDOM"; }
ctr_remove() { $C i rm --sync docker.io/interop/ctr:1 && $C content prune references; }
skopeo_pull() { skopeo copy -q --src-tls-verify=false "docker://$R/interop/skopeo:1" "oci:$W/oci:1"; }
skopeo_content() { umoci unpack --image "$W/oci:1" bundle && same skopeo sha256sum bundle/rootfs/blob.bin; }
skopeo_remove() { rm -rf "$W/oci" bundle; }

nothing_moved() { # nothing_moved REQUESTS BYTES: no change since these counts
  local requests bytes
  requests=$(($(upstream_requests) - $1)) bytes=$(($(metric blob_bytes) - $2))
  echo "$requests requests upstream, $bytes blob bytes through pounce"
  [ $requests = 0 ] && [ $bytes = 0 ]
}
for client in docker podman ctr skopeo; do
  before=$(upstream_requests)
  step $client-pull-cold ${client}_pull
  [ "$(upstream_requests)" -gt "$before" ] || { echo "    $client did not pull through pounce"; failed=$((failed + 1)); }
  step $client-content ${client}_content
  step $client-remove ${client}_remove
  until_ok idle
  requests=$(upstream_requests) bytes=$(metric blob_bytes)
  step $client-pull-warm ${client}_pull
  step $client-nothing-moved nothing_moved "$requests" "$bytes"
  step $client-content-again ${client}_content
  step $client-remove ${client}_remove
done

step skopeo-inspect skopeo inspect --tls-verify=false "docker://$R/interop/skopeo:1"
step skopeo-list-tags skopeo list-tags --tls-verify=false "docker://$R/interop/skopeo"

# --- and back: distribution over the folder that pounce filled
step pounce-ends ends "$R_pid"
distribution "$(in_folder "$W/bucket")" B
for client in docker podman ctr skopeo; do
  step $client-from-distribution skopeo copy -q --src-tls-verify=false "docker://$B/interop/$client:1" "oci:$W/back.$client:1"
done

verdict R.log
