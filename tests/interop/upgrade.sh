#!/usr/bin/env bash
# From the previous release to this one, back, and both at once, over a folder, over moto's S3, which keeps no
# conditions, and over pounce's own, which does. Each program goes on with what the other one left, killed in the
# middle of uploads and of fills. The commands are those of docs/upgrading.md.
# usage: upgrade.sh PATH_TO_POUNCE PATH_TO_MOTO_SERVER
#        upgrade.sh --previous                builds the program of the previous release, and prints its path
#        upgrade.sh --fixture                 writes tests/previous/, which `make test` reads, with that program
set -u
# The previous release. There is none yet: this commit stands for it, whose bucket differs most among those that began
# to work as this one does (uploads that any replica continues; no marker of pushed repositories, no shared fills, no
# notes of pulls, no garbage collection).
PREVIOUS=4419751f6d0fcebf0e5ba45fb522a96e7ff5aa2c
HERE=$(dirname "$(realpath "$0")")
REPOSITORY=$(realpath "$HERE/../..")
previous=${XDG_CACHE_HOME:-$HOME/.cache}/pounce/previous/$PREVIOUS

build_previous() { # minutes, once for all clones of this machine
  [ ! -x "$previous/pounce" ] || return 0
  rm -rf "$previous" && mkdir -p "$previous/source" &&
    git -C "$REPOSITORY" archive "$PREVIOUS" | tar -x -C "$previous/source" &&
    (cd "$previous/source" && CARGO_TARGET_DIR=$previous/target cargo build --quiet --locked --bin pounce) &&
    strip -o "$previous/built" "$previous/target/debug/pounce" && rm -rf "$previous/target" "$previous/source" &&
    mv "$previous/built" "$previous/pounce"
}
has_previous() { git -C "$REPOSITORY" cat-file -e "$PREVIOUS^{tree}" 2>/dev/null; }
if ! has_previous; then
  echo "upgrades were not tested: this clone has no commit ${PREVIOUS:0:12}; tests/upgrade.rs reads a bucket of it"
  exit 0
fi
build_previous || exit
case ${1:-} in
--previous) echo "$previous/pounce" && exit ;;
--fixture) exec python3 -B "$HERE/upgrade_fixture.py" "$previous/pounce" "$REPOSITORY/tests/previous" \
  <(git -C "$REPOSITORY" show "$PREVIOUS:config/registry.yml") ;;
esac

POUNCE=$(realpath "${1:?the pounce program}") MOTO=$(realpath "${2:?the moto_server program}")
INTEROP_SERVERS_ONLY=1
. "$HERE/lib.sh"
unset REGISTRY_AUTH_FILE
mkdir bin previous && ln -s "$POUNCE" bin/pounce && ln -s "$previous/pounce" previous/pounce
export PATH=$W/bin:$PATH
tool() { python3 -B "$HERE/upgrade.py" --state "$W/$storage.json" "$@"; }

pounce BUCKET REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket" REGISTRY_LOG_ACCESSLOG_DISABLED=true
unset -f pounce # the program from here on, not the function of lib.sh

# --- the document's commands: blocks/1 and so on
mkdir blocks
python3 - "$REPOSITORY/docs/upgrading.md" <<'P'
import re, sys, textwrap
for number, block in enumerate(re.findall(r'^ *```shell\n(.*?)^ *```$', open(sys.argv[1]).read(), re.M | re.S), 1):
    open(f'blocks/{number}', 'w').write(textwrap.dedent(block))
P
declare -A blocks=([new-check]=1 [new-serve]=2 [new-gc]=3 [old-check]=4 [old-serve]=5)
step commands test "$(find blocks -type f | wc -l)" = ${#blocks[@]}
command_of() { echo "blocks/${blocks[$1]}"; }

# --- an upstream, whose large blobs come at a pace at which a copy can be killed
distribution "$(in_folder "$W/upstream")" U
SLOW=127.0.0.1:$(free_port)
cat >nginx.conf <<N
daemon off; master_process off; pid $W/nginx.pid; error_log stderr; events {}
http { client_body_temp_path $W/nb; proxy_temp_path $W/np; fastcgi_temp_path $W/nf; uwsgi_temp_path $W/nu;
  scgi_temp_path $W/ns; access_log off; proxy_http_version 1.1; proxy_max_temp_file_size 0;
  server { listen $SLOW; location / { proxy_pass http://$U; limit_rate 12m; } } }
N
nginx -e stderr -c "$W/nginx.conf" >nginx.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$SLOW/v2/"
storage=upstream
step upstream tool upstream "$U"

# --- one configuration for both
cat >registry.yml <<Y
version: 0.1
log: {level: info}
http: {secret: of both}
auth:
  htpasswd: {realm: registry, path: $W/htpasswd}
  rules:
    - { users: [anonymous], actions: [pull] }
    - { users: [admin], actions: [pull, push, delete] }
proxy:
  remoteurl: http://$U
  tagttl: 1s
  upstreams: [{ host: slow.example, remoteurl: "http://$SLOW" }]
Y
printf secret | pounce htpasswd -c 4 admin >htpasswd
serve() { # serve old|new NAME: by the document's command; the address is in NAME, the pid in NAME_pid
  local address=127.0.0.1:$(free_port) shell pid
  (export REGISTRY_HTTP_ADDR="$address" "${variables[@]}" && . "$(command_of "$1-serve")") >>"$storage-$1.log" 2>&1 &
  shell=$!
  until_ok curl -sf "http://$address/readyz" || tail "$storage-$1.log"
  pid=$(pgrep -P $shell -n || echo $shell)
  pids+=("$pid")
  declare -g "$2=$address" "${2}_pid=$pid"
}
run() { # run COMMAND STATUS...: the document's command ends with one of these
  local name=$1 code
  shift
  (export "${variables[@]}" && . "$(command_of "$name")")
  code=$?
  case " $* " in *" $code "*) ;; *) echo "$name ended with $code" && return 1 ;; esac
}
names_deny() { run old-check 1 2 >said 2>&1 && cat said && grep -q 'proxy.deny' said; }
chunks() { find "$files/pounce/fills" -type f -size +15M | grep .; }
no_chunks() { ! find "$files/pounce/fills" -type f | grep .; }
blobs() { find "$files/docker/registry/v2/blobs" -name data | wc -l; }
collect() { # collect NAME: a round with the new program; where the bucket has files, its content is old enough
  [ -z "$files" ] || age "$files"
  step "$storage-$1" env "${variables[@]}" pounce gc "${exclusive[@]}" registry.yml
}

key() { python3 -c "import json; print(json.load(open('$W/bucket/.pounce/credentials.json'))['$1'])"; }
s3() { # s3 ADDRESS BUCKET KEY SECRET
  printf '%s\n' REGISTRY_STORAGE=s3 "REGISTRY_STORAGE_S3_BUCKET=$2" "REGISTRY_STORAGE_S3_REGIONENDPOINT=http://$1" \
    REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=us-east-1 \
    "REGISTRY_STORAGE_S3_ACCESSKEY=$3" "REGISTRY_STORAGE_S3_SECRETKEY=$4"
}
for storage in ${STORAGES:-folder moto bucket}; do
  files='' exclusive=()
  case $storage in
  folder)
    files=$W/folder variables=(REGISTRY_STORAGE=filesystem "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$W/folder")
    ;;
  moto)
    S=127.0.0.1:$(free_port) exclusive=(--exclusive)
    "$MOTO" -H 127.0.0.1 -p "${S#*:}" >moto.log 2>&1 &
    pids+=($!)
    until_ok curl -sf "http://$S/moto-api/"
    curl -sf -X PUT "http://$S/registry" >/dev/null
    mapfile -t variables < <(s3 "$S" registry test test)
    ;;
  bucket)
    files=$W/bucket
    mapfile -t variables < <(s3 "$BUCKET" pounce "$(key accesskey)" "$(key secretkey)")
    ;;
  esac

  # --- the old one, which is killed in the middle
  serve old A
  step $storage-old-first tool first "$A"
  step $storage-old-opens tool open "$A" old
  step $storage-old-is-killed tool break "$A" old old "$A_pid"

  # --- to this one; a folder belongs to one process
  step $storage-new-check run new-check 0 1
  serve new A
  step $storage-new-reads tool reads "$A"
  step $storage-new-closes tool close "$A" old
  step $storage-new-fills tool fill "$A" old
  [ $storage != folder ] || ends "$A_pid"
  [ $storage = moto ] || step $storage-new-gc-dry run new-gc 0
  collect new-condemns
  [ $storage != folder ] || serve new A
  step $storage-new-reads-again tool reads "$A"
  step $storage-new-more tool more "$A" new
  step $storage-new-opens tool open "$A" new
  step $storage-new-is-killed tool break "$A" new new "$A_pid"
  [ $storage != bucket ] || step bucket-chunks-are-left chunks


  # --- and back, while a batch is condemned; the old program does not start with settings that it does not know
  cp registry.yml kept.yml && sed -i 's/^proxy:/&\n  deny: ["**:nightly"]/' registry.yml
  step $storage-old-check-names-it names_deny
  mv kept.yml registry.yml
  step $storage-old-check run old-check 0 1
  serve old A
  step $storage-old-reads tool reads "$A"
  step $storage-old-closes tool close "$A" new
  step $storage-old-more tool more "$A" old
  step $storage-old-again tool again "$A"
  step $storage-old-fills tool fill "$A" new
  step $storage-old-ends ends "$A_pid"

  # --- and to this one again: what nothing needs goes, and nothing else
  if [ -n "$files" ]; then
    before=$(blobs)
    for round in second third fourth; do collect $round-round; done
    step $storage-deleted-some test "$(blobs)" -lt "$before"
  fi
  if [ $storage = bucket ]; then
    step bucket-chunks-stayed chunks
    find "$files/pounce/fills" -type f -exec touch -d '3 days ago' {} +
    variables+=(REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL=1s) # and not a day
  fi
  serve new A
  step $storage-new-reads-all tool reads "$A"
  [ $storage != bucket ] || step bucket-chunks-are-swept until_ok no_chunks

  # --- both at once, as a rolling deployment has it
  if [ $storage != folder ]; then
    serve old B
    step $storage-tokens tool tokens "$A" "$B"
    step $storage-together tool together "$B" "$A"
    step $storage-old-ends-again ends "$B_pid"
    step $storage-new-reads-at-last tool reads "$A"
  fi
  step $storage-new-ends ends "$A_pid"
done
verdict ./*-old.log ./*-new.log
