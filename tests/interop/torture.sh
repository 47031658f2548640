#!/usr/bin/env bash
# torture.sh POUNCE [SECONDS]: three replicas on one bucket behind nginx. Every three seconds one of them is killed
# and started again, while docker and skopeo push and pull. Prints "figures: KILLS OPERATIONS FAILED" at its end;
# an operation failed if its client gave up after its own retries.
POUNCE=$(realpath "$1") SECONDS_LONG=${2:-90} BLOB_BYTES=12000000
. "$(dirname "$(realpath "$0")")/lib.sh"

pounce S3 REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket"
key() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$W/bucket/.pounce/credentials.json" "$1"; }
shared=(REGISTRY_STORAGE=s3 REGISTRY_STORAGE_S3_BUCKET=pounce REGISTRY_STORAGE_S3_REGIONENDPOINT="http://$S3"
  REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=auto REGISTRY_HTTP_SECRET=shared
  REGISTRY_STORAGE_S3_ACCESSKEY="$(key accesskey)" REGISTRY_STORAGE_S3_SECRETKEY="$(key secretkey)")
addrs=()
for _ in 1 2 3; do addrs+=("127.0.0.1:$(free_port)"); done
replica() { # replica NUMBER: starts it, and writes its pid to a file
  env REGISTRY_HTTP_ADDR="${addrs[$1]}" "${shared[@]}" "$POUNCE" serve >>"R$1.log" 2>&1 &
  echo $! >"R$1.pid"
  pids+=($!)
}
for number in 0 1 2; do replica $number; done
for number in 0 1 2; do until_ok curl -sf "http://${addrs[$number]}/readyz"; done

R=127.0.0.1:$(free_port)
cat >nginx.conf <<N
daemon off; master_process off; pid $W/nginx.pid; error_log stderr; events {}
http { access_log off; client_body_temp_path $W/b; proxy_temp_path $W/p; fastcgi_temp_path $W/f;
  uwsgi_temp_path $W/u; scgi_temp_path $W/s;
  upstream pounce { server ${addrs[0]} max_fails=0; server ${addrs[1]} max_fails=0; server ${addrs[2]} max_fails=0; }
  server { listen $R; client_max_body_size 0;
    location / { proxy_pass http://pounce; proxy_set_header Host \$http_host; proxy_http_version 1.1;
      proxy_next_upstream error timeout non_idempotent; proxy_request_buffering off; proxy_buffering off; } } }
N
nginx -e stderr -c "$W/nginx.conf" >nginx.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$R/v2/"

killing() { # kills one after the other, and starts it again half a second later
  local number=0
  while [ ! -e stop ]; do
    kill -9 "$(cat "R$number.pid")"
    echo >>kills
    sleep .5
    replica $number
    number=$(((number + 1) % 3))
    sleep 2.5
  done
}
tally() { # tally NAME COMMAND...: an operation
  echo >>operations
  holds "$@"
}
holds() { # holds NAME COMMAND...: a check without a registry, which has to succeed
  local name=$1
  shift
  "$@" >"$name.out" 2>&1 && return
  echo >>failures
  echo "$name failed:" "$(tail -n 3 "$name.out")"
}
by_docker() { # a new image, pushed, thrown away, pulled and run
  local number=0
  while [ ! -e stop ]; do
    number=$((number + 1))
    make_image "docker$number" docker "$R" >/dev/null 2>&1
    tally docker-push $D push -q "$R/interop/docker$number:1"
    $D rmi -f "$R/interop/docker$number:1" >/dev/null 2>&1
    tally docker-pull $D pull -q "$R/interop/docker$number:1"
    holds docker-run same "docker$number" $D run --rm "$R/interop/docker$number:1"
  done
}
by_skopeo() { # the same image to new names, and back
  local number=0
  while [ ! -e stop ]; do
    number=$((number + 1))
    tally skopeo-push skopeo copy -q --retry-times 5 --dest-tls-verify=false "oci:$W/oci:1" "docker://$R/interop/skopeo$number:1"
    rm -rf back
    tally skopeo-pull skopeo copy -q --retry-times 5 --src-tls-verify=false "docker://$R/interop/skopeo$number:1" "oci:$W/back:1"
    holds skopeo-same diff -r oci/blobs back/blobs
  done
}
by_curl() { # by_curl NUMBER: one of many clients that pull a blob
  local digest
  digest=$(sha256sum <ctx.first/blob.bin | cut -d' ' -f1)
  while [ ! -e stop ]; do
    tally "curl$1" sh -c "curl -sfL --retry 5 --retry-all-errors --retry-delay 1 'http://$R/v2/interop/raw/blobs/sha256:$digest' | sha256sum | grep -q $digest"
    sleep .2
  done
}

make_image first oci "$R" 3 >/dev/null 2>&1
podman push -q --tls-verify=false "$R/interop/first:1" >/dev/null 2>&1 || podman push --tls-verify=false "$R/interop/first:1"
skopeo copy -q --src-tls-verify=false "docker://$R/interop/first:1" "oci:$W/oci:1" || exit 1
raw=$(sha256sum <ctx.first/blob.bin | cut -d' ' -f1)
location=$(curl -sf -D - -o /dev/null -X POST "http://$R/v2/interop/raw/blobs/uploads/" | tr -d '\r' | awk 'tolower($1) == "location:" { print $2 }')
case $location in /*) location=http://$R$location ;; esac
curl -sf -o /dev/null -X PUT --data-binary @ctx.first/blob.bin -H 'Content-Type: application/octet-stream' "$location&digest=sha256:$raw" || exit 1

: >kills; : >operations; : >failures
work=()
for client in killing by_docker by_skopeo "by_curl 1" "by_curl 2" "by_curl 3" "by_curl 4"; do
  $client &
  work+=($!)
done
sleep "$SECONDS_LONG"
touch stop
wait "${work[@]}"
for number in 0 1 2; do kill "$(cat "R$number.pid")"; done
if grep -hE ' ERROR |panicked' R?.log; then echo >>failures; fi
echo "figures: $(wc -l <kills) $(wc -l <operations) $(wc -l <failures)"
