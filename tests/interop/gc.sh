#!/usr/bin/env bash
# After four rounds of `pounce gc` (two for manifests, and two more for their bytes), distribution pulls from the same
# folder what is left, and its own garbage-collect finds nothing that pounce left. Then the other way: what distribution pushed and deleted goes by pounce, and by it alone.
# usage: gc.sh PATH_TO_POUNCE    (as root; the Makefile installs what it needs)
set -u
POUNCE=$(realpath "${1:?the pounce program}")
. "$(dirname "$(realpath "$0")")/lib.sh"
unset REGISTRY_AUTH_FILE

cat >gc.yml <<Y
version: 0.1
storage:
  filesystem: {rootdirectory: $W/data}
  retention: [{repositories: ["team/**"], from: push, untagged: 1h, keep: {newest: 2}}]
Y
collect() { "$POUNCE" gc "$@" gc.yml; }
layers() { # layers TAG: an image of three layers of random bytes; the first two are every image's
  [ -d layout ] || umoci init --layout layout
  mkdir -p shared root
  [ -e shared/one ] || head -c 200000 /dev/urandom >shared/one
  umoci new --image "layout:$1" && umoci insert --image "layout:$1" shared /shared &&
    head -c 300000 /dev/urandom >root/blob && umoci insert --image "layout:$1" root /data
}
push() { skopeo copy -q --dest-tls-verify=false "oci:layout:$3" "docker://$1/$2:$3"; }
pull() { rm -rf back && skopeo copy -q --src-tls-verify=false "docker://$1/$2:$3" dir:back; }
blobs() { find data/docker/registry/v2/blobs -name data | wc -l; }
distribution_finds() { # distribution_finds BLOBS MANIFESTS: what its garbage-collect would delete
  docker-registry garbage-collect --dry-run R2.yml >found 2>&1
  tail -n 5 found
  grep -q "marked, $1 blobs and $2 manifests eligible for deletion" found
}

pounce R1 REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/data"
for tag in v1 v2 v3 v4; do step "image-$tag" layers $tag; done
for tag in v1 v2 v3 v4; do
  step "push-$tag" push "$R1" team/app $tag
  sleep 1.1 # tags are ordered by when they were written, to a second
done
step push-other push "$R1" other/app v1
step push-deleted push "$R1" other/gone v2
digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$R1/other/gone:v2")
step delete curl -sf -X DELETE "http://$R1/v2/other/gone/manifests/$digest"
ends "$R1_pid"
before=$(blobs)
age data

said() { # said TEXT COMMAND...: the output has the text
  local text=$1
  shift
  "$@" >said 2>&1
  local code=$?
  cat said
  [ $code = 0 ] && grep -q -- "$text" said
}
step dry-run said 'team/app:v1' collect --dry-run
step dry-run-writes-nothing test ! -e data/pounce/gc -a ! -e data/docker/registry/v2/_gc
step first-round collect
step first-deletes-nothing test "$(blobs)" = "$before"
age data
step second-round collect
step second-deletes-no-bytes test "$(blobs)" = "$before"
for round in third fourth; do
  age data
  step "$round-round" collect
done
step fourth-deletes-bytes test "$(blobs)" -lt "$before"
step nothing-is-left said 'nothing' collect --dry-run

distribution "$(in_folder "$W/data")" R2
for tag in v3 v4; do step "distribution-pulls-$tag" pull "$R2" team/app $tag; done
step distribution-pulls-other pull "$R2" other/app v1
gone() { ! pull "$R2" "$1" "$2"; }
step v1-is-gone gone team/app v1
step v2-is-gone gone team/app v2
step distribution-finds-nothing distribution_finds 0 0

# --- what distribution pushed, and whose tag it moved
step image-v5 layers v5
step distribution-pushes push "$R2" third/app v5
skopeo copy -q --dest-tls-verify=false oci:layout:v3 "docker://$R2/third/app:v5"
ends "${pids[-1]}"
for round in fifth sixth seventh eighth; do
  age data
  step "$round-round" collect
done
distribution "$(in_folder "$W/data")" R2
step distribution-still-pulls pull "$R2" third/app v5
step distribution-finds-nothing-again distribution_finds 0 0
verdict R1.log
