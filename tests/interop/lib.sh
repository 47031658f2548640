#!/usr/bin/env bash
# Shared by the interop scripts, which source it with POUNCE set: steps, servers, clients.
set -u
W=$(mktemp -d "${TMPDIR:-/tmp}/interop.XXXXXX")
cd "$W" || exit 2
failed=0 steps=0 pids=()
: >failures

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
  if [ $code -ne 0 ]; then failed=$((failed + 1)) && (echo "failed: $name" && sed 's/^/    /' out) | tee -a failures; fi
}

until_ok() { # until_ok COMMAND...: at most 20 s
  for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep .1; done
  echo "never succeeded: $*"
  return 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- servers; each adds its pid to pids

# distribution DIRECTORY-OR-S3 NAME [YAML]: Debian's docker-registry over a folder, or with a storage
# section of its own; the address is in the variable NAME.
distribution() {
  local addr=127.0.0.1:$(free_port)
  printf 'version: 0.1\n%s\nhttp:\n  addr: %s\n' "$1" "$addr" >"$2.yml"
  # It refuses to start with unknown REGISTRY_ variables, and with this one of the SDK's.
  env -u REGISTRY_AUTH_FILE -u AWS_CA_BUNDLE docker-registry serve "$2.yml" >"$2.log" 2>&1 &
  pids+=($!)
  until_ok curl -sf "http://$addr/v2/" || cat "$2.log"
  declare -g "$2=$addr"
}
in_folder() { printf 'storage:\n  filesystem:\n    rootdirectory: %s' "$1"; }

# pounce NAME [VARIABLE=VALUE...]: the address is in the variable NAME, its pid in NAME_pid. Clients may do everything
# there, unless a variable configures auth.
pounce() {
  local name=$1 addr=127.0.0.1:$(free_port) open=(REGISTRY_AUTH_ANONYMOUS=pull,push,delete)
  shift
  case " $*" in *" REGISTRY_AUTH"*) open=() ;; esac
  env REGISTRY_HTTP_ADDR="$addr" "${open[@]}" "$@" "$POUNCE" serve >"$name.log" 2>&1 &
  pids+=($!)
  declare -g "$name=$addr" "${name}_pid=$!"
  until_ok curl -sf "http://$addr/healthz" || cat "$name.log"
}
ends() { # ends PID: in order
  kill -TERM "$1"
  until_ok sh -c "! kill -0 $1 2>/dev/null"
}

# --- a bucket's age, by the files of its folder
age() { # age FOLDER: what is new becomes three days older, and so does every batch; tags remain in their order
  find "$1/docker" -type f -mtime -2 | while read -r file; do touch -d "@$(($(stat -c %Y "$file") - 3 * 86400))" "$file"; done
  python3 - "$1/docker/registry/v2/_gc/state" <<'P'
import json, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
if path.exists():
    state = json.loads(path.read_text())
    for batch in state['batches']:
        batch['published'] = int(time.time()) - 3 * 86400
    path.write_text(json.dumps(state))
P
}

# --- the clients' daemons and configuration, unless a script needs servers only
no_error() { ! grep ERROR "$@"; }
verdict() { # verdict LOG...: pounce's logs; the end of every script
  step no-error-logged no_error "$@"
  # The failures come last, because readers look at the end of a long output.
  [ $failed = 0 ] || { tail -n 50 "$@" && cat failures; }
  echo "$(basename "$0"): $((steps - failed)) passed, $failed failed"
  [ $failed = 0 ]
}
[ -z "${INTEROP_SERVERS_ONLY:-}" ] || return 0
mkdir -p dcfg
# A script that has network and mount namespaces of its own sets HOST and ADDRESS, and HOST is looked up in a file. The
# file is there before dockerd starts, because dockerd remembers what it read.
if [ -n "${INTEROP_IS_ALONE:-}" ]; then
  busybox ip link set lo up && busybox ip addr add "$ADDRESS/32" dev lo &&
    (cat /etc/hosts && echo "$ADDRESS $HOST") >hosts.file && chmod 644 hosts.file &&
    mount --bind hosts.file /etc/hosts || exit 2
fi
start_docker() {
  dockerd --data-root "$W/docker" --exec-root "$W/dexec" --host "unix://$W/docker.sock" --pidfile "$W/dockerd.pid" \
    --iptables=false --ip-forward=false --bridge=none --storage-driver=overlay2 >dockerd.log 2>&1 &
  pids+=($!)
  until_ok curl -sf --unix-socket "$W/docker.sock" http://d/_ping
}
start_docker
export DOCKER_HOST=unix://$W/docker.sock DOCKER_CONFIG=$W/dcfg DOCKER_BUILDKIT=0
D=/usr/bin/docker
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
printf 'version=2\nroot="%s/cd"\nstate="%s/cdstate"\ndisabled_plugins=["io.containerd.grpc.v1.cri"]\n[grpc]\n address="%s/c.sock"\n' \
  "$W" "$W" "$W" >containerd.toml
containerd -c containerd.toml >containerd.log 2>&1 &
pids+=($!)
C="ctr -a $W/c.sock"
until_ok $C version

# --- an image with a file of random bytes, whose checksum it prints when it runs; Docker's format, or
# the OCI's. Its name is REGISTRY/interop/NAME:1.
make_image() { # make_image NAME docker|oci REGISTRY [MORE-LAYERS]
  mkdir -p "ctx.$1"
  cp /bin/busybox "ctx.$1/"
  head -c "${BLOB_BYTES:-20000000}" /dev/urandom >"ctx.$1/blob.bin"
  printf 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY blob.bin /blob.bin\nENV PATH=/bin\n' >"ctx.$1/Dockerfile"
  for layer in $(seq "${4:-0}"); do
    head -c 300000 /dev/urandom >"ctx.$1/layer$layer"
    echo "COPY layer$layer /layer$layer" >>"ctx.$1/Dockerfile"
  done
  echo 'CMD ["/bin/busybox", "sha256sum", "/blob.bin"]' >>"ctx.$1/Dockerfile"
  sha256sum <"ctx.$1/blob.bin" | cut -d' ' -f1 >"sum.$1"
  if [ "$2" = docker ]; then
    $D build -q --no-cache -t "$3/interop/$1:1" "ctx.$1"
  else
    podman build -q --isolation chroot --no-cache -t "$3/interop/$1:1" "ctx.$1"
  fi
}
same() { # same NAME COMMAND...: the command prints the image's checksum
  local name=$1
  shift
  "$@" | tee /dev/stderr | grep -q "$(cat "sum.$name")"
}
