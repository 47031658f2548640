#!/usr/bin/env bash
# `pounce clients URL --write` on a machine with docker, containerd and podman, and a pull by each of them through the
# registry: over plain HTTP, over TLS with a CA of its own, and with a login. No client is told of the registry in any
# other way, and none reaches an upstream. Then `pounce clients --undo`.
# usage: clients.sh PATH_TO_POUNCE    (as root; the Debian packages are in the Makefile)
set -u
# The script writes to /etc, so it has a mount namespace of its own; and another address than those of 127.0.0.0/8, where
# docker takes any certificate and plain HTTP.
if [ -z "${INTEROP_IS_ALONE:-}" ]; then INTEROP_IS_ALONE=1 exec unshare --mount --net "$0" "$@"; fi
POUNCE=$(realpath "${1:?the pounce program}")
HOST=registry.test ADDRESS=192.0.2.1
for directory in /etc/docker /etc/containerd; do mount -t tmpfs tmpfs $directory || exit 2; done
. "$(dirname "$(realpath "$0")")/lib.sh"
cp -a /etc/containers containers && mount --bind containers /etc/containers || exit 2
containerd config default >/etc/containerd/config.toml
echo '{ "log-driver": "json-file" }' >/etc/docker/daemon.json
D="env DOCKER_CONFIG=$DOCKER_CONFIG $D"
unset DOCKER_CONFIG # podman would use docker's logins

# --- upstreams: distribution as Docker Hub, which is the default one, and as ghcr.io; an image of each client in both
distribution "$(in_folder "$W/hub")" U
distribution "$(in_folder "$W/ghcr")" V
BLOB_BYTES=300000
for client in docker ctr podman; do
  step make-$client make_image $client docker "$U"
  for address in "$U" "$V"; do
    step push-$client sh -c "$D tag $U/interop/$client:1 $address/interop/$client:1 && $D push -q $address/interop/$client:1"
  done
done
step forget sh -c "$D rmi -f \$($D images -q | sort -u)"

# --- pounce in front of them
EC=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
openssl "${EC[@]}" -subj /CN=interop -keyout ca.key -out ca.crt 2>openssl.log || cat openssl.log
openssl "${EC[@]}" -subj "/CN=$HOST" -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:$HOST" \
  -addext basicConstraints=CA:FALSE -keyout key -out crt 2>openssl.log || cat openssl.log
served() { # served NAME SCHEME [VARIABLE=VALUE...]: the URL is in NAME
  local name=$1 url=$2://$HOST:$(free_port)
  shift 2
  env REGISTRY_HTTP_ADDR="$ADDRESS:${url##*:}" REGISTRY_PROXY_REMOTEURL="http://$U" REGISTRY_PROXY_HOST=docker.io \
    REGISTRY_PROXY_UPSTREAMS="[{host: ghcr.io, remoteurl: 'http://$V'}]" \
    REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket.$name" "$@" "$POUNCE" serve >"$name.log" 2>&1 &
  pids+=($!)
  declare -g "$name=$url"
  until_ok curl -sf --cacert ca.crt "$url/healthz" || cat "$name.log"
}
served plain http
TLS=(REGISTRY_HTTP_TLS_CERTIFICATE="$W/crt" REGISTRY_HTTP_TLS_KEY="$W/key")
served tls https "${TLS[@]}"
served users https "${TLS[@]}" REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_USERS="$(printf secret | "$POUNCE" htpasswd -c 4 alice)" \
  REGISTRY_HTTP_SECRET=interop

# --- each client pulls by the names of the upstreams
docker_pull() { $D pull -q "$1"; }
docker_content() { same docker $D run --rm "$1"; }
docker_forget() { $D rmi -f "$1"; }
ctr_pull() { $C i pull --hosts-dir /etc/containerd/certs.d "$1"; }
ctr_content() { same ctr $C run --rm "$1" "c$RANDOM"; }
ctr_forget() { $C i rm --sync "$1" && $C content prune references; }
podman_pull() { podman pull -q "$1"; }
podman_content() { same podman podman run --rm --network none "$1"; }
podman_forget() { podman rmi -f "$1"; }
through() { # through LOG CLIENT REFERENCE: it pulls, has the right content, and pounce's log has the pull
  local before=$(grep -c "interop/$2" "$1.log") after
  "$2_pull" "$3" && "$2_content" "$3" && "$2_forget" "$3" || return 1
  after=$(grep -c "interop/$2" "$1.log")
  echo "$((after - before)) requests for interop/$2 at pounce"
  [ "$after" -gt "$before" ]
}
fails() { ! "$@"; }
says() { # says TEXT COMMAND...: its output has the text
  local text=$1
  shift
  "$@" 2>&1 | tee /dev/stderr | grep -qF -- "$text"
}
write() { "$POUNCE" clients "$@" --write; }
reload() { kill -HUP "$(cat "$W/dockerd.pid")" && sleep 1; } # as `systemctl reload docker` does
restart() { ends "$(cat "$W/dockerd.pid")" && start_docker; }
files() { find /etc/docker /etc/containerd /etc/containers -type f | sort | xargs sha256sum; }

files >before
step docker-without fails docker_pull docker.io/interop/docker:1
for kind in plain tls; do
  ca=() && [ $kind = plain ] || ca=(--ca ca.crt)
  step $kind-write write "${!kind}" "${ca[@]}"
  step $kind-write-again says "nothing to change" write "${!kind}" "${ca[@]}"
  reload
  step $kind-docker through $kind docker docker.io/interop/docker:1
  step $kind-docker-by-name through $kind docker "${!kind#*://}/ghcr.io/interop/docker:1"
  for client in ctr podman; do
    for upstream in docker.io ghcr.io; do
      step $kind-$client-$upstream through $kind $client $upstream/interop/$client:1
    done
    [ $client != podman ] || step $kind-podman-by-name through $kind podman "${!kind#*://}/interop/podman:1"
  done
  step $kind-config-path says 'config_path = "/etc/containerd/certs.d"' containerd -c /etc/containerd/config.toml config dump
  step $kind-undo "$POUNCE" clients --undo
  files >after
  step $kind-all-as-before diff before after
  step $kind-docker-restart restart
  step $kind-docker-without fails docker_pull docker.io/interop/docker:1
done

# --- with a login: Docker gets no mirror; the others take credentials as the notes say
login() { printf secret | write "$users" "$@" --ca ca.crt --user alice; }
step login-docker fails login docker
step login-docker-says says moby#30880 login docker
step login-podman says "podman login" login podman
step login-podman-passed-by fails through users podman ghcr.io/interop/podman:1
step podman-login sh -c "echo secret | podman login -u alice --password-stdin ${users#*://}"
step login-podman-pulls through users podman ghcr.io/interop/podman:1
step login-ctr says "Authorization" login containerd
step login-ctr-passed-by fails through users ctr ghcr.io/interop/ctr:1
printf '[host."%s".header]\nAuthorization = "Basic %s"\n' "$users" "$(printf alice:secret | base64)" \
  >>/etc/containerd/certs.d/ghcr.io/hosts.toml
step login-ctr-pulls through users ctr ghcr.io/interop/ctr:1
step login-ctr-again says "Authorization" login containerd
step login-ctr-still-pulls through users ctr ghcr.io/interop/ctr:1

verdict plain.log tls.log users.log
