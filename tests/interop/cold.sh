#!/usr/bin/env bash
# Cold pulls through one pounce from two upstreams: distribution with a token server, and distribution behind
# an nginx that caps each connection. containerd reaches both as mirrors, skopeo and docker by path. Then
# `pounce warm`, a credential helper, many clients at once, and an upstream that dies during a pull.
# usage: cold.sh PATH_TO_POUNCE PATH_TO_PYTHON    (as root; a python with the package cryptography)
set -u
POUNCE=$(realpath "${1:?the pounce program}")
# The link is not resolved, because it leads out of the virtual environment.
PYTHON=$(realpath -s "${2:?a python with the package cryptography}")
HERE=$(dirname "$(realpath "$0")")
. "$HERE/lib.sh"

# --- ghcr.io: distribution, and its token server
T=127.0.0.1:$(free_port) A=127.0.0.1:$(free_port)
openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -days 2 -subj /CN=interop 2>openssl.log
"$PYTHON" "$HERE/token_server.py" "${T#*:}" token.key token.crt >token.log 2>&1 &
pids+=($!)
until_ok curl -sf -u user:secret "http://$T/token" || cat openssl.log token.log
# Not with `distribution`, because that waits for a success, and this one answers 401.
cat >A.yml <<Y
version: 0.1
$(in_folder "$W/a")
auth:
  token: { realm: "http://$T/token", service: interop, issuer: interop, rootcertbundle: "$W/token.crt" }
http:
  addr: $A
Y
env -u REGISTRY_AUTH_FILE -u AWS_CA_BUNDLE docker-registry serve A.yml >A.log 2>&1 &
pids+=($!)
until_ok curl -s "http://$A/v2/" || cat A.log
ghcr_requests() { cat A.log token.log | grep -cE 'response completed|GET /token'; }

# --- quay.io: distribution behind an nginx with a fast and a slow port
distribution "$(in_folder "$W/b")" B
SWIFT=127.0.0.1:$(free_port) SLOW=127.0.0.1:$(free_port)
cat >nginx.conf <<N
daemon off; master_process off; pid $W/nginx.pid; error_log stderr; events {}
http { client_body_temp_path $W/nb; proxy_temp_path $W/np; fastcgi_temp_path $W/nf; uwsgi_temp_path $W/nu; scgi_temp_path $W/ns;
  log_format sent '\$body_bytes_sent \$request_uri'; access_log $W/nginx.sent sent;
  proxy_http_version 1.1; proxy_max_temp_file_size 0;
  server { listen $SWIFT; location / { proxy_pass http://$B; limit_rate 20m; } }
  server { listen $SLOW; location / { proxy_pass http://$B; limit_rate 1m; } } }
N
nginx_starts() {
  nginx -e stderr -c "$W/nginx.conf" >>nginx.log 2>&1 &
  nginx_pid=$!
  pids+=($!)
  until_ok curl -sf "http://$SWIFT/v2/" || cat nginx.log
}
nginx_starts
quay_requests() { wc -l <nginx.sent; }
upstream_requests() { echo $(($(ghcr_requests) + $(quay_requests))); }

# --- pounce in front of both
metered() { # metered NAME VARIABLE=VALUE...: a pounce with a folder of its own; its metrics are at NAME_metrics
  local name=$1 at=127.0.0.1:$(free_port)
  shift
  declare -g "${name}_metrics=$at"
  pounce "$name" REGISTRY_HTTP_DEBUG_ADDR="$at" REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED=true \
    REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket.$name" "$@"
}
metric() { # metric POUNCE NAME
  local at=$1_metrics
  curl -sf "http://${!at}/metrics" | awk -v m="pounce_$2" 'index($1, m) == 1 { sum += $2 } END { print sum + 0 }'
}
idle() { [ "$(metric "$1" background_tasks)" = 0 ]; }
# A tag must stay fresh even if the machine is busy.
two=(REGISTRY_PROXY_TAGTTL=1h
  REGISTRY_PROXY_UPSTREAMS_0_HOST=ghcr.io "REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL=http://$A"
  REGISTRY_PROXY_UPSTREAMS_0_USERNAME=user REGISTRY_PROXY_UPSTREAMS_0_PASSWORD=secret
  REGISTRY_PROXY_UPSTREAMS_1_HOST=quay.io "REGISTRY_PROXY_UPSTREAMS_1_REMOTEURL=http://$SWIFT")
metered R "${two[@]}"
for host in ghcr.io quay.io example.com; do
  mkdir -p "hosts/$host"
  # The server's port is closed, so that only the mirror can answer.
  printf 'server="http://127.0.0.1:1"\n[host."http://%s"]\n capabilities=["pull","resolve"]\n' "$R" >"hosts/$host/hosts.toml"
done

# --- the images: interop/app:1 and interop/more:1 at both, with different content
login() { echo "$1" | $D login -u user --password-stdin "$A"; }
refused() { ! "$@" && grep -qi unauthorized out; } # step writes what is printed to `out`
ghcr_push() { # ghcr_push IMAGE NAME
  make_image "$1" docker "$A" && $D tag "$A/interop/$1:1" "$A/interop/$2:1" && $D push -q "$A/interop/$2:1" &&
    $D rmi -f "$A/interop/$1:1" "$A/interop/$2:1"
}
quay_push() {
  make_image "$1" oci "$B" && podman push -q --tls-verify=false "$B/interop/$1:1" "docker://$B/interop/$2:1" && podman rmi -a -f
}
step login-refused refused login wrong
step login login secret
step ghcr-push ghcr_push ghcr app
step quay-push quay_push quay app
BLOB_BYTES=2000000
step ghcr-push-more ghcr_push ghcr-more more
step quay-push-more quay_push quay-more more
step anonymous-refused refused skopeo inspect --no-creds --tls-verify=false "docker://$A/interop/app:1"

# --- containerd, to which pounce is the mirror of both
ctr_pull() { $C i pull --hosts-dir hosts "$1.io/interop/app:1"; }
ctr_content() { same "$1" $C run --rm "$1.io/interop/app:1" "c$RANDOM"; }
ctr_remove() { $C i rm --sync "$1.io/interop/app:1" && $C content prune references; }
only_there() { # only_there HOST GHCR QUAY: only HOST got requests since these counts
  local ghcr=$(($(ghcr_requests) - $2)) quay=$(($(quay_requests) - $3))
  echo "$ghcr requests at ghcr.io, $quay at quay.io"
  if [ "$1" = ghcr ]; then [ $ghcr -gt 0 ] && [ $quay = 0 ]; else [ $quay -gt 0 ] && [ $ghcr = 0 ]; fi
}
nothing_moved() { # nothing_moved REQUESTS BYTES: no change since these counts
  local requests=$(($(upstream_requests) - $1)) bytes=$(($(metric R blob_bytes) - $2))
  echo "$requests requests upstream, $bytes blob bytes through pounce"
  [ $requests = 0 ] && [ $bytes = 0 ]
}
at_rest() { # at_rest NAME COMMAND...: a step without upstream requests and blob bytes
  until_ok idle R
  local requests=$(upstream_requests) bytes=$(metric R blob_bytes)
  step "$@"
  step "$1-at-rest" nothing_moved "$requests" "$bytes"
}
for host in ghcr quay; do
  until_ok idle R
  ghcr=$(ghcr_requests) quay=$(quay_requests)
  step $host-ctr-cold ctr_pull $host
  step $host-ctr-only-there only_there $host "$ghcr" "$quay"
  step $host-ctr-content ctr_content $host
  step $host-ctr-remove ctr_remove $host
  at_rest $host-ctr-warm ctr_pull $host
  step $host-ctr-content-again ctr_content $host
done
unknown() { ! $C i pull --hosts-dir hosts example.com/interop/app:1 && until_ok grep -q 'path=/v2/interop/app/.*NAME_UNKNOWN' R.log; }
at_rest unknown-host unknown

# --- skopeo and docker, by path: the same repositories
skopeo_pull() { # skopeo_pull IMAGE NAME, like the others: pulls NAME, which has to be IMAGE
  skopeo copy -q --src-tls-verify=false "docker://$R/$2:1" "oci:$W/oci.$1:1" &&
    umoci unpack --image "$W/oci.$1:1" "bundle.$1" && same "$1" sha256sum "bundle.$1/rootfs/blob.bin"
}
docker_pull() { $D pull -q "$R/$2:1" && same "$1" $D run --rm --network none "$R/$2:1"; }
podman_pull() { podman pull -q --tls-verify=false "$R/$2:1" && same "$1" podman run --rm --network none "$R/$2:1"; }
for host in ghcr quay; do
  at_rest $host-skopeo skopeo_pull $host $host.io/interop/app
  at_rest $host-docker docker_pull $host $host.io/interop/app
done

# --- pounce warm, beside a serving pounce
warm() {
  env REGISTRY_HTTP_ADDR="$R" REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket.R" "${two[@]}" \
    "$POUNCE" warm ghcr.io/interop/more:1 quay.io/interop/more:1
}
again() { warm && grep -q 'nothing to do' out; }
step warm warm
at_rest warm-again again
at_rest warm-docker docker_pull ghcr-more ghcr.io/interop/more
at_rest warm-podman podman_pull quay-more quay.io/interop/more

# --- a credential helper
cat >helper <<H
#!/bin/sh
echo "\$1 \$(cat)" >>$W/helper.asked
echo '{"Username":"user","Secret":"secret"}'
H
chmod +x helper
metered HELPED REGISTRY_PROXY_REMOTEURL="http://$A" REGISTRY_PROXY_EXEC_COMMAND="$W/helper"
helper_asked() { cat helper.asked && [ "$(cat helper.asked)" = "get $A" ]; }
step helper-skopeo skopeo copy -q --src-tls-verify=false "docker://$HELPED/interop/app:1" "oci:$W/oci.helper:1"
step helper-asked-once helper_asked

# --- 20 clients at once, and one blob
SIZE=$((64 << 20))
head -c $SIZE /dev/urandom >big
big=sha256:$(sha256sum <big | cut -d' ' -f1) path=/v2/interop/big/blobs
big_push() {
  local at
  at=$(curl -sf -D - -o /dev/null -X POST "http://$B$path/uploads/" | tr -d '\r' | awk 'tolower($1) == "location:" { print $2 }')
  curl -sf -X PUT -H 'Content-Type: application/octet-stream' -T big "$at&digest=$big"
}
step big-push big_push
metered MANY REGISTRY_PROXY_REMOTEURL="http://$SWIFT"
many() {
  seq 20 | xargs -P 20 -I{} sh -c "curl -sfL 'http://$MANY$path/$big' | cmp - big && echo right" | tee rights
  echo "$(wc -l <rights) of 20 have the right content"
  [ "$(wc -l <rights)" = 20 ]
}
sent() { awk -v digest="$big" 'index($2, digest) { sum += $1 } END { print sum + 0 }' nginx.sent; }
all_sent() { idle MANY && [ "$(sent)" -ge $SIZE ]; }
once() {
  until_ok all_sent # nginx logs a request at its end
  echo "upstream sent $(sent) of $SIZE bytes"
  [ "$(sent)" = $SIZE ]
}
step many-clients many
step many-one-download once

# --- the upstream dies while a client pulls, and comes back
metered DYING REGISTRY_PROXY_REMOTEURL="http://$SLOW"
asked_since() { [ "$(metric DYING upstream_requests)" -gt "$1" ]; }
dies() {
  curl -sf --max-time 60 -o dying "http://$DYING$path/$big" &
  local client=$! here
  pids+=($client)
  until_ok test -s dying || return
  kill -KILL $nginx_pid
  wait $nginx_pid
  here=$(stat -c %s dying)
  until_ok asked_since "$(metric DYING upstream_requests)" # the dead upstream was asked
  sed -i 's/limit_rate 1m/limit_rate 20m/' nginx.conf # it was slow so that it dies during the pull
  nginx_starts
  wait $client || { echo "the client ended with $?"; return 1; }
  cmp big dying && echo "it died after $here of $SIZE bytes" && [ "$here" -lt $SIZE ]
}
step upstream-dies dies

verdict R.log HELPED.log MANY.log DYING.log
