#!/usr/bin/env bash
# From registry:2 to pounce and back, by docs/switching.md alone: its YAML blocks are config.yml, its shell blocks are
# the commands, and its text block is the output of the command before it. Clients pull and push before, between and
# after. Then `pounce check --for distribution` beside the real thing: its exit status is 0 if distribution starts.
# usage: switching.sh PATH_TO_POUNCE PATH_TO_MOTO_SERVER    (as root; the Makefile installs what it needs)
set -u
POUNCE=$(realpath "${1:?the pounce program}") MOTO=$(realpath "${2:?the moto_server program}")
DOCUMENT=$(realpath "$(dirname "$0")/../../docs/switching.md")
. "$(dirname "$(realpath "$0")")/lib.sh"
unset -f pounce # the program, not the function of lib.sh
# distribution takes podman's variable for a setting, and its SDK reads this file of authorities.
unset REGISTRY_AUTH_FILE AWS_CA_BUNDLE
mkdir bin && ln -s "$POUNCE" bin/pounce && ln -s "$(command -v docker-registry)" bin/registry
export PATH=$W/bin:$PATH

# --- the S3, in the place of the document's
S=127.0.0.1:$(free_port) R=127.0.0.1:$(free_port)
"$MOTO" -H 127.0.0.1 -p "${S#*:}" >moto.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$S/moto-api/"
curl -sf -X PUT "http://$S/my-bucket" >/dev/null
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true
printf secret | pounce htpasswd -c 4 admin >htpasswd

# --- the document's blocks in their order: blocks/01.yaml, blocks/02.shell and so on
mkdir blocks
python3 - "$DOCUMENT" "$S" "$R" <<'P'
import re, sys, textwrap
text, s3, registry = open(sys.argv[1]).read(), sys.argv[2], sys.argv[3]
blocks = re.findall(r'^( *)```(yaml|shell|text)\n(.*?)^\1```$', text, re.M | re.S)
for number, (_, kind, block) in enumerate(blocks):
    block = textwrap.dedent(block).replace('https://t3.storage.dev', 'http://' + s3).replace('127.0.0.1:5000', registry)
    open(f'blocks/{number:02}.{kind}', 'w').write(block)
P
served=
serve() { # serve FILE.shell: in the place of what served before
  [ -z "$served" ] || ends "$served"
  (. "./$1") >"$1.log" 2>&1 &
  local shell=$!
  until_ok curl -s "http://$R/v2/" || { cat "$1.log"; return 1; }
  served=$(pgrep -P $shell -n || echo $shell)
  pids+=("$served")
}
skopeo_() { skopeo "$1" --authfile auth.json "${@:2}"; }
push() { make_layout "$1" && skopeo_ copy -q --dest-tls-verify=false "oci:layout:$1" "docker://$R/team/app:$1"; }
make_layout() { # an image of one layer of random bytes; `layout:TAG`
  rm -rf layout && umoci init --layout layout && umoci new --image "layout:$1" && mkdir -p root &&
    head -c 300000 /dev/urandom >root/blob && umoci insert --image "layout:$1" root /data
}
pull() { skopeo_ copy -q --src-tls-verify=false "docker://$R/team/app:$1" "dir:pulled.$1" && rm -rf "pulled.$1"; }
is_program() { # is_program distribution|pounce: what answers
  local found=distribution
  curl -sf "http://$R/healthz" >/dev/null && found=pounce
  echo "$found answers" && [ $found = "$1" ]
}
echo "{\"auths\":{\"$R\":{\"auth\":\"$(printf admin:secret | base64)\"}}}" >auth.json

# --- before: registry:2, as it is
cp blocks/00.yaml config.yml
echo 'registry serve config.yml' >before.shell
step distribution-before serve before.shell
step push-before push before
step pull-before pull before

# --- the document
turn=0 pushed=(before)
for block in blocks/*; do
  name=$(basename "$block")
  case $name in
  *.yaml) cp "$block" config.yml ;;
  *.text) step "$name-is-the-output" diff "$block" said ;;
  *.shell)
    if grep -q ' serve ' "$block"; then
      turn=$((turn + 1)) program=distribution
      grep -q '^pounce' "$block" && program=pounce
      step "$name-serves" serve "$block"
      step "$name-$program" is_program $program
      for tag in "${pushed[@]}"; do step "$name-pulls-$tag" pull "$tag"; done
      step "$name-pushes" push "then$turn"
      pushed+=("then$turn")
    else
      (. "./$block") >said 2>&1
      echo $? >status
      # The document says of one of them that it fails: the one whose output is shown.
      ends_as() { cat said && [ "$(cat status)" = "$1" ] || { [ "$1" = 0 ] && [ "$(cat status)" = 1 ]; }; }
      expected=0 && grep -q '^failed' said && [ -e "blocks/$(printf %02d $((10#${name%%.*} + 1))).text" ] && expected=2
      step "$name-ends-with-$expected" ends_as $expected
    fi
    ;;
  esac
done
step turns test $turn = 3
ends "$served"

# --- `pounce check --for distribution` is right: with the same file and variables, distribution starts, or does not
mkdir even
starts() { # starts VARIABLES...: whether distribution listens, with even/config.yml
  env "$@" timeout 20 registry serve even/config.yml >even/log 2>&1 &
  local pid=$! code=1
  for _ in $(seq 60); do
    curl -s "http://$E/v2/" >/dev/null && code=0 && break
    kill -0 $pid 2>/dev/null || break
    sleep .05
  done
  kill $pid 2>/dev/null
  wait $pid 2>/dev/null
  return $code
}
even() { # even NAME YES-OR-NO YAML [VARIABLE=VALUE...]
  local expected=$2 E=127.0.0.1:$(free_port) status=no started=no name=$1
  printf 'version: 0.1\nhttp: {addr: "%s"}\n%b\n' "$E" "$3" >even/config.yml
  shift 3
  local bare=(-u REGISTRY_STORAGE_S3_FORCEPATHSTYLE)
  env "${bare[@]}" "$@" pounce check --for distribution even/config.yml >even/said 2>&1 && status=yes
  starts "${bare[@]}" "$@" && started=yes
  echo "pounce says $status, distribution starts: $started"
  [ $status = $expected ] && [ $started = $expected ] || { cat even/config.yml even/said even/log; return 1; }
}
FOLDER="storage: {filesystem: {rootdirectory: $W/even/data}"
step even-plain even plain yes "$FOLDER}"
step even-no-storage even no-storage no ""
step even-two-drivers even two no "$FOLDER, s3: {bucket: b, region: us-east-1}}\n" REGISTRY_STORAGE_S3_TIGRIS=false
step even-variable-driver even named yes "$FOLDER, redirect: {expiry: 1h}}" REGISTRY_STORAGE=filesystem \
  REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/even/data"
step even-redirect even redirect no "$FOLDER, redirect: {expiry: 1h}}"
step even-redirect-null even redirect no "$FOLDER, redirect: {disable: null}}"
step even-redirect-whole even redirect yes "$FOLDER, redirect: {disable: false, expiry: 1h, exclude: [10.0.0.0/8]}}"
step even-redirect-variable even redirect no "$FOLDER}" REGISTRY_STORAGE_REDIRECT_MINAGE=10s
step even-purging even purging no "$FOLDER, maintenance: {uploadpurging: {age: 100h}}}"
step even-purging-off even purging yes "$FOLDER, maintenance: {uploadpurging: {enabled: false}}}"
step even-purging-whole even purging yes \
  "$FOLDER, maintenance: {uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}}}"
step even-readonly even readonly yes "$FOLDER, maintenance: {readonly: {enabled: true}}}"
step even-readonly-variable even readonly no "$FOLDER}" REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true
step even-readonly-section even readonly yes "$FOLDER}" REGISTRY_STORAGE_MAINTENANCE='{readonly: {enabled: true}}'
step even-readonly-null even readonly no "$FOLDER, maintenance: {readonly: null}}"
HTPASSWD="htpasswd: {realm: r, path: $W/htpasswd}"
step even-htpasswd even htpasswd yes "$FOLDER}\nauth: {$HTPASSWD}"
USERS="users: '$(cat htpasswd)'"
step even-users even users no "$FOLDER}\nauth: {htpasswd: {realm: r, $USERS}}"
step even-users-and-path even users yes "$FOLDER}\nauth: {htpasswd: {realm: r, path: $W/htpasswd, $USERS}}"
step even-no-realm even realm no "$FOLDER}\nauth: {htpasswd: {path: $W/htpasswd}}"
step even-rules even rules no "$FOLDER}\nauth: {$HTPASSWD, rules: [{users: [admin], actions: [pull]}]}"
step even-anonymous even anonymous no "$FOLDER}\nauth: {anonymous: [pull]}"
step even-anonymous-null even anonymous no "$FOLDER}\nauth: {$HTPASSWD, anonymous: null}"
step even-anonymous-variable even anonymous no "$FOLDER}" REGISTRY_AUTH_ANONYMOUS=pull
step even-podman even podman no "$FOLDER}" REGISTRY_AUTH_FILE=/x
step even-header even header no "$FOLDER}" REGISTRY_HTTP_HEADERS_A=b
step even-header-list even header yes "$FOLDER}" REGISTRY_HTTP_HEADERS_A='[b]'
PROXY="proxy: {upstreams: [{host: ghcr.io}], tagttl: 1m, fill: {connections: 4}}"
step even-ignored even ignored yes "$FOLDER}\n$PROXY" \
  REGISTRY_HTTP_LIMITS_CONNECTIONS=100 REGISTRY_HTTP_TRUSTEDPROXIES=10.0.0.0/8 REGISTRY_LOG_ACCESSLOG_FORMAT=json
no_version() {
  sed -i /version/d even/config.yml
  ! pounce check --for distribution even/config.yml && ! E=$R starts A=b
}
step even-no-version no_version

rm -f blocks/08.shell.log blocks/09.shell.log # of distribution
verdict blocks/*.log
