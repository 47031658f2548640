#!/usr/bin/env bash
# Real clients push to pounce over an S3 (moto), pull back, and delete; then distribution takes the
# bucket over, pulls everything and pushes, and pounce pulls that. Then three replicas behind a
# round-robin front, so that each request of a client may reach another replica.
# usage: push.sh PATH_TO_POUNCE PATH_TO_MOTO_SERVER    (as root; the Makefile installs what it needs)
set -u
POUNCE=$(realpath "${1:?the pounce program}") MOTO=$(realpath "${2:?the moto_server program}")
HERE=$(dirname "$(realpath "$0")")
. "$HERE/lib.sh"

# --- the S3
S=127.0.0.1:$(free_port)
"$MOTO" -H 127.0.0.1 -p "${S#*:}" >moto.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$S/moto-api/"
bucket() { curl -sf -X PUT "http://$S/$1" >/dev/null; }
s3() { # s3 BUCKET: pounce's variables
  printf '%s\n' REGISTRY_STORAGE=s3 "REGISTRY_STORAGE_S3_BUCKET=$1" "REGISTRY_STORAGE_S3_REGIONENDPOINT=http://$S" \
    REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=us-east-1 \
    REGISTRY_STORAGE_S3_ACCESSKEY=test REGISTRY_STORAGE_S3_SECRETKEY=test REGISTRY_HTTP_SECRET=interop
}
on_s3() { # on_s3 BUCKET: distribution's storage section
  printf 'storage:\n  s3:\n    bucket: %s\n    regionendpoint: http://%s\n    region: us-east-1\n    forcepathstyle: true\n    accesskey: test\n    secretkey: test\n    secure: false\n  delete:\n    enabled: true' "$1" "$S"
}

# --- pounce: every client pushes and pulls back
bucket one
mapfile -t one < <(s3 one)
pounce R "${one[@]}"
docker_push() { make_image docker docker "$R" && $D push -q "$R/interop/docker:1" && $D rmi -f "$R/interop/docker:1"; }
docker_pull() { $D pull -q "$R/interop/docker:1" && same docker $D run --rm "$R/interop/docker:1"; }
podman_push() { make_image podman oci "$R" && podman push -q --tls-verify=false "$R/interop/podman:1" && podman rmi -a -f; }
podman_pull() { podman pull -q --tls-verify=false "$R/interop/podman:1" && same podman podman run --rm --network none "$R/interop/podman:1"; }
buildah_push() { make_image buildah oci "$R" && buildah push -q --tls-verify=false "$R/interop/buildah:1" && buildah rmi -a -f; }
buildah_pull() { buildah pull -q --tls-verify=false "$R/interop/buildah:1" && buildah rmi -a -f; }
ctr_push() {
  $C i pull --plain-http "$R/interop/docker:1" && $C i tag "$R/interop/docker:1" "$R/other/ctr:1" &&
    $C i push --plain-http "$R/other/ctr:1" && $C i rm --sync "$R/other/ctr:1" "$R/interop/docker:1" && $C content prune references
}
ctr_pull() { $C i pull --plain-http "$R/other/ctr:1" && same docker $C run --rm "$R/other/ctr:1" c1; }
skopeo_push() {
  skopeo copy -q --src-tls-verify=false "docker://$R/interop/podman:1" "oci:$W/oci:1" &&
    skopeo copy -q --dest-tls-verify=false "oci:$W/oci:1" "docker://$R/interop/skopeo:1"
}
skopeo_pull() {
  skopeo copy -q --src-tls-verify=false "docker://$R/interop/skopeo:1" "oci:$W/back:1" &&
    umoci unpack --image "$W/back:1" bundle && same podman sha256sum bundle/rootfs/blob.bin
}
for client in docker podman buildah ctr skopeo; do
  step $client-push ${client}_push
  step $client-pull ${client}_pull
done
# A second tag of the same image moves no layer, and a delete takes one tag away.
step skopeo-copy skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$R/interop/docker:1" "docker://$R/copied/here:2"
step skopeo-delete skopeo delete --tls-verify=false "docker://$R/copied/here:2"
gone() { ! skopeo inspect --tls-verify=false "docker://$R/copied/here:2"; }
step skopeo-deleted gone
in_catalog() { curl -sf "http://$1/v2/_catalog" | tee /dev/stderr | grep -q "\"$2\""; }
step catalog in_catalog "$R" interop/skopeo

# --- there: distribution over the bucket that pounce filled
pulls_everything() { # pulls_everything REGISTRY
  for image in interop/docker interop/podman interop/buildah interop/skopeo other/ctr; do
    skopeo copy -q --src-tls-verify=false "docker://$1/$image:1" "dir:$W/everything" || return
    rm -rf "$W/everything"
  done
}
step pounce-ends ends "$R_pid"
distribution "$(on_s3 one)" B
step distribution-pulls pulls_everything "$B"
step distribution-lists in_catalog "$B" interop/skopeo
step distribution-pushes skopeo copy -q --dest-tls-verify=false "oci:$W/oci:1" "docker://$B/interop/theirs:1"
step distribution-retags skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "docker://$B/interop/podman:1" "docker://$B/interop/docker:1"
step distribution-ends ends "${pids[-1]}"
step distribution-collects env -u REGISTRY_AUTH_FILE -u AWS_CA_BUNDLE docker-registry garbage-collect B.yml

# --- and back again
pounce R "${one[@]}"
step pounce-pulls pulls_everything "$R"
same_digest() { [ "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$1")" = "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$2")" ]; }
step pounce-has-theirs same_digest "$R/interop/theirs:1" "$R/interop/podman:1"
step pounce-has-retagged same_digest "$R/interop/docker:1" "$R/interop/podman:1"
step pounce-ends ends "$R_pid"
mv R.log R1.log

# --- three replicas on one bucket behind a round-robin front
bucket three
mapfile -t three < <(s3 three)
for replica in R1 R2 R3; do pounce $replica "${three[@]}"; done
R=127.0.0.1:$(free_port)
cat >nginx.conf <<N
daemon off; master_process off; pid $W/nginx.pid; error_log stderr; events {}
http { access_log off; client_body_temp_path $W/b; proxy_temp_path $W/p; fastcgi_temp_path $W/f;
  uwsgi_temp_path $W/u; scgi_temp_path $W/s;
  upstream pounce { server $R1 max_fails=0; server $R2 max_fails=0; server $R3 max_fails=0; }
  server { listen $R; client_max_body_size 0;
    location / { proxy_pass http://pounce; proxy_set_header Host \$http_host; proxy_http_version 1.1;
      proxy_request_buffering off; proxy_buffering off; } } }
N
nginx -e stderr -c "$W/nginx.conf" >nginx.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$R/v2/"
many_layers() { make_image many docker "$R" 20 && $D push -q "$R/interop/many:1" && $D rmi -f "$R/interop/many:1"; }
many_pull() { $D pull -q "$R/interop/many:1" && same many $D run --rm "$R/interop/many:1"; }
step three-docker-push many_layers
step three-docker-pull many_pull
step three-podman-push podman_push
step three-podman-pull podman_pull
chunked() { # a blob in chunks of 3 MB with curl, each to the next replica
  head -c 20000000 /dev/urandom >chunked.bin
  local digest=sha256:$(sha256sum <chunked.bin | cut -d' ' -f1) at=0 size=3000000 location
  location() { tr -d '\r' <headers | awk 'tolower($1) == "location:" { print $2 }'; }
  curl -sf -D headers -o /dev/null -X POST "http://$R/v2/interop/chunked/blobs/uploads/" || return
  while [ $at -lt 20000000 ]; do
    tail -c +$((at + 1)) chunked.bin | head -c $size >chunk
    local end=$((at + $(stat -c %s chunk) - 1))
    curl -sf -D headers -o /dev/null -X PATCH -H "Content-Range: $at-$end" -H 'Content-Type: application/octet-stream' \
      --data-binary @chunk "http://$R$(location)" || return
    at=$((end + 1))
  done
  curl -sf -o /dev/null -X PUT "http://$R$(location)&digest=$digest" || return
  curl -sfL "http://$R/v2/interop/chunked/blobs/$digest" | cmp - chunked.bin
}
step three-chunked-upload chunked
all_took_part() { for replica in R1 R2 R3; do grep -q 'method=PATCH.*status=202' $replica.log || return; done; }
step three-took-part all_took_part

# --- keys of the bucket as logins, over an S3 that verifies signatures and has policies
K=127.0.0.1:$(free_port)
"$(dirname "$MOTO")/python" "$HERE/bucket_keys.py" "${K#*:}" keys >keys 2>keys.log &
pids+=($!)
until_ok grep -q ^editor keys || cat keys.log
key() { awk -v name="$1" '$1 == name { print $2 ":" $3 }' keys; } # key NAME: id:secret
own=$(key own)
# moto takes no presigned URLs in this mode.
pounce L REGISTRY_STORAGE=s3 REGISTRY_STORAGE_S3_BUCKET=keys "REGISTRY_STORAGE_S3_REGIONENDPOINT=http://$K" \
  REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=us-east-1 REGISTRY_HTTP_SECRET=interop \
  "REGISTRY_STORAGE_S3_ACCESSKEY=${own%%:*}" "REGISTRY_STORAGE_S3_SECRETKEY=${own#*:}" \
  REGISTRY_STORAGE_REDIRECT_DISABLE=true REGISTRY_AUTH_BUCKETKEYS=true
refused() { # refused WHY COMMAND...: it fails, and its output matches WHY
  local why=$1
  shift
  if "$@" >said 2>&1; then cat said && echo 'not refused' && return 1; fi
  cat said && grep -iE -- "$why" said # again, as the last line of the step
}
logs_in() { # logs_in CLIENT id:secret
  local flags=()
  [ "$1" = docker ] || flags=(--tls-verify=false)
  echo "${2#*:}" | "$1" login "${flags[@]}" -u "${2%%:*}" --password-stdin "$L"
}
docker() { $D "$@"; }
docker_pushes() { docker tag "$R/interop/docker:1" "$L/interop/$1:1" && docker push -q "$L/interop/$1:1"; }
docker_pulls() { docker rmi -f "$L/interop/editor:1" && docker pull -q "$L/interop/editor:1"; }
skopeo_pushes() { skopeo copy -q --dest-tls-verify=false "oci:$W/oci:1" "docker://$L/interop/$1:1"; }
skopeo_pulls() { skopeo copy -q --src-tls-verify=false "docker://$L/interop/editor:1" "dir:$W/pulled" && rm -r "$W/pulled"; }
R=$L make_image docker docker "$L" >/dev/null && R=$L
nobody='unauthorized|no basic auth credentials|authentication required' denied='denied: your keys'
for client in docker skopeo; do
  step keys-$client-without refused "$nobody" ${client}_pushes editor
  step keys-$client-wrong refused 'unauthorized|invalid username/password' logs_in $client "$(key reader)x"
  step keys-$client-editor logs_in $client "$(key editor)"
  step keys-$client-pushes ${client}_pushes editor
  step keys-$client-reader logs_in $client "$(key reader)"
  step keys-$client-pulls ${client}_pulls
  step keys-$client-denied refused "$denied" ${client}_pushes reader
  step keys-$client-logout $client logout "$L"
done

verdict R1.log R2.log R3.log L.log
