#!/usr/bin/env bash
# Real clients pull through pounce, each an image of its own, twice: docker, podman, containerd's ctr
# as a mirror of docker.io, and skopeo. After the first pull, none may cause a request upstream or move
# a blob's bytes through pounce; after each, the client has the right content.
# usage: interop.sh PATH_TO_POUNCE    (as root; the Debian packages are in the Makefile)
# Prints a line a step: name, exit status, milliseconds, last line of output. Exits 1 if any failed.
set -u
POUNCE=$(realpath "${1:?the pounce program}")
W=$(mktemp -d "${TMPDIR:-/tmp}/interop.XXXXXX")
cd "$W" || exit 2
failed=0 steps=0 pids=()

cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  umount "$W/dexec/netns/default" 2>/dev/null
  rm -rf --one-file-system "$W" 2>/dev/null
}
trap cleanup EXIT

step() { # step NAME COMMAND...
  local name=$1 start code
  shift
  start=$(date +%s%N)
  "$@" >out 2>&1
  code=$?
  steps=$((steps + 1))
  printf '%-24s %3d %6d ms  %s\n' "$name" $code $((($(date +%s%N) - start) / 1000000)) \
    "$(tr '\r' '\n' <out | tail -n1 | cut -c1-100)"
  if [ $code -ne 0 ]; then failed=$((failed + 1)); sed 's/^/    /' out; fi
}

until_ok() { # until_ok COMMAND...: at most 20 s
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep .1; done
  echo "never succeeded: $*"
  return 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- the upstream: distribution, with its access log
U=127.0.0.1:$(free_port)
printf 'version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n' "$W/upstream" "$U" >upstream.yml
docker-registry serve upstream.yml >upstream.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$U/v2/"
upstream_requests() { grep -c 'response completed' upstream.log; }

# --- pounce before it
R=127.0.0.1:$(free_port) M=127.0.0.1:$(free_port)
REGISTRY_HTTP_ADDR=$R REGISTRY_HTTP_DEBUG_ADDR=$M REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED=true \
  REGISTRY_PROXY_REMOTEURL=http://$U REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$W/bucket \
  "$POUNCE" serve >pounce.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$R/healthz"
metric() { curl -sf "http://$M/metrics" | awk -v m="pounce_$1" 'index($1, m) == 1 { sum += $2 } END { print sum + 0 }'; }
idle() { [ "$(metric fills_active)" = 0 ]; }

# --- what the clients need
mkdir -p dcfg hosts/docker.io
dockerd --data-root "$W/docker" --exec-root "$W/dexec" --host "unix://$W/docker.sock" --pidfile "$W/dockerd.pid" \
  --iptables=false --ip-forward=false --bridge=none --storage-driver=overlay2 >dockerd.log 2>&1 &
pids+=($!)
export DOCKER_HOST=unix://$W/docker.sock DOCKER_CONFIG=$W/dcfg DOCKER_BUILDKIT=0
D=/usr/bin/docker
until_ok curl -sf --unix-socket "$W/docker.sock" http://d/_ping
cat >containers.conf <<'C'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
C
printf '[storage]\ndriver="overlay"\ngraphroot="%s/cs"\nrunroot="%s/csrun"\n' "$W" "$W" >storage.conf
echo '{}' >auth.json
export CONTAINERS_CONF=$W/containers.conf CONTAINERS_STORAGE_CONF=$W/storage.conf REGISTRY_AUTH_FILE=$W/auth.json
printf 'server="https://registry-1.docker.io"\n[host."http://%s"]\n capabilities=["pull","resolve"]\n' "$R" >hosts/docker.io/hosts.toml
printf 'version=2\nroot="%s/cd"\nstate="%s/cdstate"\ndisabled_plugins=["io.containerd.grpc.v1.cri"]\n[grpc]\n address="%s/c.sock"\n' \
  "$W" "$W" "$W" >containerd.toml
containerd -c containerd.toml >containerd.log 2>&1 &
pids+=($!)
C="ctr -a $W/c.sock"
until_ok $C version

# --- an image for each client, pushed to the upstream: Docker's format, and for two of them the OCI's
make_image() { # make_image CLIENT
  mkdir -p "ctx.$1"
  cp /bin/busybox "ctx.$1/"
  head -c 20000000 /dev/urandom >"ctx.$1/blob.bin"
  cat >"ctx.$1/Dockerfile" <<'F'
FROM scratch
COPY busybox /bin/busybox
COPY blob.bin /blob.bin
ENV PATH=/bin
CMD ["/bin/busybox", "sha256sum", "/blob.bin"]
F
  sum=$(sha256sum <"ctx.$1/blob.bin" | cut -d' ' -f1)
  echo "$sum" >"sum.$1"
  if [ "$2" = docker ]; then
    $D build -q --no-cache -t "$U/interop/$1:1" "ctx.$1" && $D push -q "$U/interop/$1:1" && $D rmi -f "$U/interop/$1:1"
  else
    podman build -q --isolation chroot --no-cache -t "$U/interop/$1:1" "ctx.$1" &&
      podman push -q --tls-verify=false "$U/interop/$1:1" && podman rmi -a -f
  fi
}
step make-docker make_image docker docker
step make-podman make_image podman oci
step make-ctr make_image ctr docker
step make-skopeo make_image skopeo oci

# --- each pulls twice, and shows what it got
same() { # same CLIENT COMMAND...: the command prints the image's checksum
  local client=$1
  shift
  "$@" | tee /dev/stderr | grep -q "$(cat "sum.$client")"
}
docker_pull() { $D pull -q "$R/interop/docker:1"; }
docker_content() { same docker $D run --rm "$R/interop/docker:1"; }
docker_remove() { $D rmi -f "$R/interop/docker:1"; }
podman_pull() { podman pull -q --tls-verify=false "$R/interop/podman:1"; }
podman_content() { same podman podman run --rm --network none "$R/interop/podman:1"; }
podman_remove() { podman rmi -a -f; }
ctr_pull() { $C i pull --hosts-dir hosts docker.io/interop/ctr:1; }
ctr_content() { same ctr $C run --rm docker.io/interop/ctr:1 "c$RANDOM"; }
ctr_remove() { $C i rm docker.io/interop/ctr:1 && $C content prune references; }
skopeo_pull() { skopeo copy -q --src-tls-verify=false "docker://$R/interop/skopeo:1" "oci:$W/oci:1"; }
skopeo_content() { umoci unpack --image "$W/oci:1" bundle && same skopeo sha256sum bundle/rootfs/blob.bin; }
skopeo_remove() { rm -rf "$W/oci" bundle; }

nothing_moved() { # nothing_moved REQUESTS BYTES: since these were counted
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
step pounce-ends kill -TERM "${pids[1]}"
until_ok sh -c "! kill -0 ${pids[1]} 2>/dev/null"
B=127.0.0.1:$(free_port)
printf 'version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n' "$W/bucket" "$B" >back.yml
env -u REGISTRY_AUTH_FILE docker-registry serve back.yml >back.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$B/v2/" || cat back.log
for client in docker podman ctr skopeo; do
  step $client-from-distribution skopeo copy -q --src-tls-verify=false "docker://$B/interop/$client:1" "oci:$W/back.$client:1"
done

grep -E '"?level"?[ :=]+"?ERROR|ERROR' pounce.log && failed=$((failed + 1))
[ $failed = 0 ] || tail -n 50 pounce.log
echo "interop: $((steps - failed)) passed, $failed failed"
[ $failed = 0 ]
