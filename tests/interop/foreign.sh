#!/usr/bin/env bash
# Clients that are no container engines. Over an S3 (moto) with redirects, Helm pushes and pulls charts with their
# signatures, also from an upstream, and the Python clients oras and dxf push, list, pull and delete artifacts. Then the
# same over TLS with passwords and rules: Helm's commands are those of docs/clients.md, and Charliecloud pushes and
# pulls an image.
# usage: foreign.sh PATH_TO_POUNCE PATH_TO_MOTO_SERVER PATH_TO_HELM PYTHON_WITH_ORAS_AND_DXF
set -u
POUNCE=$(realpath "${1:?the pounce program}") MOTO=$(realpath "${2:?the moto_server program}")
HELM=$(realpath "${3:?the program helm}") PYTHON=${4:?the python of a venv with oras and python-dxf}
HERE=$(dirname "$(realpath "$0")")
INTEROP_SERVERS_ONLY=1
. "$HERE/lib.sh"
mkdir home bin
ln -s "$HELM" bin/helm
# Charliecloud wants a user's name.
export HOME=$W/home USER=root GNUPGHOME=$W/home PATH=$W/bin:$PATH
chmod 700 home

# --- an S3, an upstream that is a distribution, and a pounce between them, which clients push to as well
S=127.0.0.1:$(free_port)
"$MOTO" -H 127.0.0.1 -p "${S#*:}" >moto.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$S/moto-api/"
curl -sf -X PUT "http://$S/foreign" >/dev/null
distribution "$(in_folder "$W/upstream")" U
pounce R REGISTRY_STORAGE=s3 REGISTRY_STORAGE_S3_BUCKET=foreign "REGISTRY_STORAGE_S3_REGIONENDPOINT=http://$S" \
  REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=us-east-1 REGISTRY_STORAGE_S3_ACCESSKEY=test \
  REGISTRY_STORAGE_S3_SECRETKEY=test REGISTRY_HTTP_SECRET=interop REGISTRY_PROXY_REMOTEURL="http://$U"

# --- and a pounce with passwords, rules and TLS
user() { printf %s "$2" | "$POUNCE" htpasswd "$1"; } # user NAME PASSWORD: a line
user admin secret >users && user bob secret >>users || exit 2
EC=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
openssl "${EC[@]}" -subj /CN=interop -keyout ca.key -out ca.crt 2>openssl.log || cat openssl.log
openssl "${EC[@]}" -subj /CN=interop -CA ca.crt -CAkey ca.key -addext subjectAltName=IP:127.0.0.1 \
  -addext basicConstraints=CA:FALSE -keyout key -out crt 2>openssl.log || cat openssl.log
T=127.0.0.1:$(free_port)
cat >T.yml <<Y
http:
  addr: $T
  host: https://$T
  tls: { certificate: $W/crt, key: $W/key }
storage: { filesystem: { rootdirectory: $W/T } }
proxy:
  upstreams: [{ host: ghcr.io, remoteurl: "http://$U" }]
auth:
  htpasswd: { path: $W/users }
  rules:
    - { users: [anonymous], repositories: ["public/**"], actions: [pull] }
    - { users: [bob], repositories: ["charts/**"], actions: [pull] }
    - { users: [admin], actions: [pull, push, delete] }
Y
"$POUNCE" serve T.yml >T.log 2>&1 &
pids+=($!)
until_ok curl -sf --cacert ca.crt "https://$T/healthz" || cat T.log

refused() { # refused WHY COMMAND...: it fails, and its output matches WHY
  local why=$1
  shift
  if "$@" >said 2>&1; then cat said && echo 'not refused' && return 1; fi
  cat said && grep -iE -- "$why" said # again, as the last line of the step
}

# --- Helm: a chart whose version has a +, which no tag has, signed
chart() {
  gpg --batch --quiet --passphrase '' --quick-gen-key 'interop <interop@example.com>' rsa2048 sign 0 &&
    gpg --batch --export-secret-keys >secret.gpg && gpg --batch --export >public.gpg && helm create app &&
    sed -i 's/^version:.*/version: 1.0.0+1/' app/Chart.yaml &&
    helm package app --sign --key interop --keyring secret.gpg && cp app-1.0.0+1.tgz* home/
}
helm_push() { helm push app-1.0.0+1.tgz "oci://$1" --plain-http; }
helm_verify() { # the chart and its signature, in a directory of their own
  rm -rf got && mkdir got &&
    helm pull "oci://$1/app" --version 1.0.0+1 --plain-http -d got --verify --keyring public.gpg &&
    cmp app-1.0.0+1.tgz got/app-1.0.0+1.tgz && ls got/app-1.0.0+1.tgz.prov
}
helm_newest() { # among the tags
  helm show chart "oci://$1/app" --plain-http --version '>=0.1.0-0' | tee /dev/stderr | grep -q 'version: 1.0.0+1'
}
step helm-chart chart
step helm-push helm_push "$R/charts"
step helm-push-again helm_push "$R/charts"
step helm-verify helm_verify "$R/charts"
step helm-newest helm_newest "$R/charts"
step helm-install helm install app "oci://$R/charts/app" --version 1.0.0+1 --plain-http --dry-run=client
step helm-push-upstream helm_push "$U/org/charts"
step helm-cold helm_verify "$R/org/charts"
step helm-newest-upstream helm_newest "$R/org/charts"

# --- Python's oras and dxf
oras() { "$PYTHON" "$HERE/foreign.py" oras "$@"; }
dxf() { "$PYTHON" "$HERE/foreign.py" dxf "$@"; }
step oras oras "http://$R"
step dxf dxf "http://$R"

# --- with passwords, over TLS
export SSL_CERT_FILE=$W/ca.crt REQUESTS_CA_BUNDLE=$W/ca.crt
unset CURL_CA_BUNDLE
step anonymous-push refused 'log in first' env -C home helm push app-1.0.0+1.tgz "oci://$T/public"
step wrong-password refused 'credentials are wrong' helm registry login "$T" -u admin -p wrong
# The commands of docs/clients.md are typed as they stand there, but for the name of the registry.
document() { # document SECTION: its commands
  python3 - "$HERE/../../docs/clients.md" "$1" <<'P' | sed "s/registry\.example\.com/$T/g"
import re, sys
section = re.split(r'^## ', open(sys.argv[1]).read(), flags=re.M)
[section] = [text for text in section if text.startswith(sys.argv[2] + '\n')]
print(*re.findall(r'^```shell\n(.*?)^```$', section, re.M | re.S), sep='', end='')
P
}
document 'Helm charts' >helm.commands
five() { [ "$(wc -l <helm.commands)" = 5 ]; }
step document-commands five
step document-helm env -C home PASSWORD=secret bash -ex "$W/helm.commands"
step helm-by-name helm show chart "oci://$T/ghcr.io/org/charts/app" --version 1.0.0+1
step oras-tls oras "https://$T" admin secret
step dxf-tls dxf "https://$T" admin secret
switch_user() { helm registry logout "$T" && helm registry login "$T" -u bob -p secret; }
step helm-bob switch_user
step helm-bob-pull helm pull "oci://$T/charts/app"
step helm-bob-push refused 'denied: you may not push' helm push app-1.0.0+1.tgz "oci://$T/charts"

# --- Charliecloud, which speaks TLS only, and takes absolute Locations only: http.host
image() { # as `docker save` writes it
  mkdir -p root/bin && cp /bin/busybox root/bin/sh && tar -C root -cf layer.tar bin &&
    printf '{"architecture":"amd64","os":"linux","config":{},"history":[{"created_by":"interop"}],
      "rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$(sha256sum <layer.tar | cut -d' ' -f1)" >config.json &&
    echo '[{"Config":"config.json","RepoTags":["app:1"],"Layers":["layer.tar"]}]' >manifest.json &&
    tar -cf image.tar layer.tar config.json manifest.json &&
    skopeo copy -q --dest-creds admin:secret docker-archive:image.tar "docker://$T/public/app:1"
}
# It is written for Debian's Python.
ch() { env PATH="/usr/bin:$PATH" CH_IMAGE_STORAGE="$W/ch" "${login[@]}" ch-image --no-cache "${flags[@]}" "$@"; }
login=() flags=()
ch_anonymous() { ch pull "$T/public/app:1"; }
ch_push() {
  login=(CH_IMAGE_USERNAME=admin CH_IMAGE_PASSWORD=secret) flags=(--auth)
  ch push "$T/public/app:1" "$T/team/app:2" && ch delete "$T/public/app:1" && ch pull "$T/team/app:2" &&
    cmp root/bin/sh "$(find ch -path '*/bin/sh' -type f | head -n1)"
}
step ch-image image
step ch-anonymous ch_anonymous
step ch-push ch_push

verdict R.log T.log
