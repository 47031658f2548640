#!/usr/bin/env bash
# Access: real clients without a login, with a wrong one and with the right one, over plain HTTP and over TLS,
# with passwords, certificates, a token server, tokens of an OIDC issuer, rules, and behind nginx; and changes of
# the files while pounce runs. A refused client has to print the reason, so that no step passes by accident.
# usage: access.sh PATH_TO_POUNCE PATH_TO_PYTHON    (as root; a python with the package cryptography)
set -u
# The script runs in network and mount namespaces of its own: it needs another address than 127.0.0.0/8, where
# docker takes any certificate, and all clients read certificates from /etc/docker/certs.d.
if [ -z "${INTEROP_IS_ALONE:-}" ]; then INTEROP_IS_ALONE=1 exec unshare --mount --net "$0" "$@"; fi
POUNCE=$(realpath "${1:?the pounce program}")
# The link is not resolved, because it leads out of the virtual environment.
PYTHON=$(realpath -s "${2:?a python with the package cryptography}")
HERE=$(dirname "$(realpath "$0")")
HOST=registry.test ADDRESS=192.0.2.1 CERTS=/etc/docker/certs.d
mount -t tmpfs tmpfs /etc/docker || exit 2
. "$HERE/lib.sh"

# --- users, a CA and its certificates
user() { printf %s "$2" | "$POUNCE" htpasswd "$1"; } # user NAME PASSWORD: a line
user alice secret >users && user bob secret >>users || exit 2
EC=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
certificate() { # certificate DIRECTORY
  mkdir "$1" && openssl "${EC[@]}" -subj "/CN=$HOST" -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:$HOST" \
    -addext basicConstraints=CA:FALSE -keyout "$1/key" -out "$1/crt" 2>openssl.log || cat openssl.log
}
openssl "${EC[@]}" -subj /CN=interop -keyout ca.key -out ca.crt 2>openssl.log || cat openssl.log
certificate first
certificate second
certificate client
ln -s first live # all files change at once, as with Kubernetes
trust() { mkdir -p "$CERTS/$1" && cp ca.crt "$CERTS/$1/"; } # trust HOST:PORT

# --- pounce: `pounce` of lib.sh, or one of these, each with a folder of its own
stored() { echo "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$W/bucket.$1"; }
htpasswd=(REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_REALM=interop "REGISTRY_AUTH_HTPASSWD_PATH=$W/users")
served() { # served NAME URL [VARIABLE=VALUE...]: with NAME.yml if it exists; the address is in NAME
  local name=$1 url=$2 file=()
  shift 2
  [ ! -e "$name.yml" ] || file=("$name.yml")
  env "$@" "$(stored "$name")" "$POUNCE" serve "${file[@]}" >"$name.log" 2>&1 &
  pids+=($!)
  declare -g "$name=${url#*://}"
  until_ok curl -sf --cacert ca.crt --cert client/crt --key client/key "$url/healthz" || cat "$name.log"
}
secured() { # secured NAME [VARIABLE=VALUE...]: with TLS
  local port=$(free_port)
  served "$1" "https://$HOST:$port" REGISTRY_HTTP_ADDR="$ADDRESS:$port" \
    REGISTRY_HTTP_TLS_CERTIFICATE="$W/live/crt" REGISTRY_HTTP_TLS_KEY="$W/live/key" "${@:2}"
}

# --- the clients: CLIENT_push REFERENCE [USER:PASSWORD] and CLIENT_pull, of an image that each of them has
CLIENTS=(docker podman buildah ctr skopeo) BLOB_BYTES=300000 IMAGE=example.com/interop
D="env DOCKER_CONFIG=$DOCKER_CONFIG $D"
unset DOCKER_CONFIG # podman and similar tools would use docker's logins
docker() { $D "$@"; }
over_http() { insecure=(--tls-verify=false) ctr_flags=(--plain-http); }
over_tls() { insecure=() ctr_flags=(--hosts-dir $CERTS); }
as() { # as CLIENT REFERENCE [USER:PASSWORD]: logs in at a registry, or out
  local client=$1 registry=${2%%/*} flags=("${insecure[@]}")
  [ "$client" != docker ] || flags=()
  if [ -z "${3:-}" ]; then
    $client logout "$registry" >/dev/null 2>&1 || : # it need not be logged in
  else
    echo "${3#*:}" | $client login "${flags[@]}" -u "${3%%:*}" --password-stdin "$registry"
  fi
}
docker_push() { as docker "$@" && docker tag $IMAGE/docker:1 "$1" && docker push -q "$1"; }
docker_pull() { as docker "$@" && docker pull -q "$1"; }
docker_drop() { docker rmi -f $(docker images -q | sort -u); }
docker_keep() { docker tag "$1" $IMAGE/docker:1; }
podman_push() { as podman "$@" && podman push -q "${insecure[@]}" $IMAGE/podman:1 "docker://$1"; }
podman_pull() { as podman "$@" && podman pull -q "${insecure[@]}" "$1"; }
podman_drop() { podman rmi -a -f; }
podman_keep() { podman tag "$1" $IMAGE/podman:1; }
buildah_push() { as buildah "$@" && buildah push -q "${insecure[@]}" $IMAGE/podman:1 "docker://$1"; }
buildah_pull() { as buildah "$@" && buildah pull -q --policy always "${insecure[@]}" "$1"; }
buildah_drop() { podman_drop; }
buildah_keep() { podman_keep "$@"; }
ctr_push() { $C i push "${ctr_flags[@]}" ${2:+-u "$2"} "$1" $IMAGE/docker:1; }
ctr_pull() { $C i pull "${ctr_flags[@]}" ${2:+-u "$2"} "$1"; }
ctr_drop() { $C i rm --sync $($C i ls -q) && $C content prune references; }
ctr_keep() { $C i tag "$1" $IMAGE/docker:1; }
skopeo_push() { as skopeo "$@" && skopeo copy -q "${insecure[@]/#--/--dest-}" "oci:$W/oci:1" "docker://$1"; }
skopeo_pull() { as skopeo "$@" && skopeo copy -q "${insecure[@]/#--/--src-}" "docker://$1" "oci:$W/oci:1"; }
skopeo_drop() { rm -r "$W/oci"; }
skopeo_keep() { :; }
pulls() { "$1_drop" && "$1_pull" "${@:2}" && "$1_keep" "$2"; } # pulls CLIENT REFERENCE [USER:PASSWORD]: all of it

refused() { # refused WHY COMMAND...: it fails, and its output matches WHY
  local why=$1
  shift
  if "$@" >said 2>&1; then cat said && echo 'not refused' && return 1; fi
  cat said && grep -iE -- "$why" said # again, as the last line of the step
}
nobody='unauthorized|no basic auth credentials' wrong='unauthorized|invalid username/password'
no_scope='denied: requested access|insufficient_scope' denied='denied: you may not push|403 Forbidden'

step make-docker make_image docker docker example.com
step make-podman make_image podman oci example.com
docker save $IMAGE/docker:1 | $C i import - >/dev/null
skopeo copy -q "containers-storage:$IMAGE/podman:1" "oci:$W/oci:1"

admission() { # admission SECTION REGISTRY USER [PASSWORD]: every client has to log in
  local client at password=${4:-secret}
  for client in "${CLIENTS[@]}"; do
    at=$2/interop/$client:1
    step $1-$client-anon-push refused "$nobody" ${client}_push "$at"
    step $1-$client-wrong refused "$wrong" ${client}_push "$at" "$3:wrong"
    step $1-$client-push ${client}_push "$at" "$3:$password"
    step $1-$client-pull pulls $client "$at" "$3:$password"
    step $1-$client-anon-pull refused "$nobody" ${client}_pull "$at"
  done
}

# --- passwords over plain HTTP
over_http
pounce H "${htpasswd[@]}" "$(stored H)"
admission http "$H" alice
# The bucket inside pounce serves blobs for signed URLs only.
bucket() { curl -sSf "$@" "http://$H/pounce?list-type=2"; }
step http-bucket-anon refused 'error: 40[03]' bucket
step http-bucket-alice refused 'error: 40[03]' bucket -u alice:secret

# --- and over TLS, once the clients know the CA
over_tls
secured S "${htpasswd[@]}"
for client in "${CLIENTS[@]}"; do
  step tls-$client-unknown-ca refused 'certificate signed by unknown authority' ${client}_push "$S/interop/$client:1" alice:secret
done
trust "$S"
admission tls "$S" alice
asked() { curl -sS --cacert ca.crt -u alice:secret -o /dev/null -w '%{http_version} %{http_code}\n' "$@"; }
speaks() { [ "$(asked "${@:2}" | tee /dev/stderr)" = "$1 200" ]; } # speaks VERSION CURL-OPTION...
hello() { openssl s_client -connect "$1" -servername $HOST -CAfile ca.crt -verify_return_error "${@:2}" </dev/null; }
step tls-http-2 speaks 2 "https://$S/v2/"
step tls-http-1 speaks 1.1 --http1.1 "https://$S/v2/"
step tls-1.2 hello "$S" -tls1_2
step tls-no-1.1 refused 'alert (protocol version|handshake failure)' hello "$S" -tls1_1 -cipher DEFAULT@SECLEVEL=0

# --- TLS 1.3, with certificates of the clients
secured M REGISTRY_HTTP_TLS_MINIMUMTLS=tls1.3 REGISTRY_HTTP_TLS_CLIENTCAS="$W/ca.crt"
step mutual-no-1.2 refused 'alert protocol version' hello "$M" -tls1_2
trust "$M"
for client in "${CLIENTS[@]}"; do
  step mutual-$client-without refused 'certificate required' ${client}_push "$M/interop/$client:1"
done
cp client/crt "$CERTS/$M/client.cert" && cp client/key "$CERTS/$M/client.key"
for client in "${CLIENTS[@]}"; do
  step mutual-$client-push ${client}_push "$M/interop/$client:1"
  step mutual-$client-pull pulls $client "$M/interop/$client:1"
done

# --- a token server, where `reader` may only pull
over_http
A=127.0.0.1:$(free_port)
openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -days 2 -subj /CN=interop 2>openssl.log
"$PYTHON" "$HERE/token_server.py" "${A#*:}" token.key token.crt >token.log 2>&1 &
pids+=($!)
until_ok curl -sf -u user:secret "http://$A/token" || cat openssl.log token.log
pounce T REGISTRY_AUTH=token REGISTRY_AUTH_TOKEN_REALM="http://$A/token" REGISTRY_AUTH_TOKEN_SERVICE=interop \
  REGISTRY_AUTH_TOKEN_ISSUER=interop REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE="$W/token.crt" "$(stored T)"
admission token "$T" user
for client in "${CLIENTS[@]}"; do
  step token-$client-may-pull pulls $client "$T/interop/docker:1" reader:secret
  step token-$client-no-push refused "$no_scope" ${client}_push "$T/interop/$client:1" reader:secret
done

# --- a token of an OIDC issuer as the password, beside users
I=127.0.0.1:$(free_port)
"$PYTHON" "$HERE/oidc_issuer.py" "${I#*:}" token.key >issuer.log 2>&1 &
pids+=($!)
until_ok curl -sf "http://$I/token" || cat issuer.log
provider="{name: ci, issuer: 'http://$I', audience: interop, claims: {repository: ['org/*']}, user: '{repository}'}"
pounce O "REGISTRY_AUTH_OIDC=[$provider]" "${htpasswd[@]}" "$(stored O)"
admission oidc "$O" ci "$(curl -sf "http://$I/token")"
admission oidc-beside "$O" alice

# --- rules: every client pulls from public/**, bob from team/** too, and alice may do everything
over_tls
cat >P.yml <<Y
auth:
  htpasswd: { path: $W/users }
  rules:
    - { users: [anonymous], repositories: ["public/**"], actions: [pull] }
    - { users: [bob], repositories: ["team/**"], actions: [pull] }
    - { users: [alice], actions: [pull, push, delete] }
Y
cp P.yml B.yml
secured P
trust "$P"
for at in public team; do step rules-push-$at docker_push "$P/$at/app:1" alice:secret; done
for client in "${CLIENTS[@]}"; do
  step rules-$client-anon-pull pulls $client "$P/public/app:1"
  step rules-$client-anon-push refused "$no_scope" ${client}_push "$P/public/$client:1"
  step rules-$client-anon-team refused "$no_scope" ${client}_pull "$P/team/app:1"
  step rules-$client-wrong refused "$wrong" ${client}_pull "$P/team/app:1" bob:wrong
  step rules-$client-bob-pull pulls $client "$P/team/app:1" bob:secret
  step rules-$client-bob-push refused "$denied" ${client}_push "$P/team/$client:1" bob:secret
  step rules-$client-alice-push ${client}_push "$P/public/$client:1" alice:secret
done
catalog() { curl -sf --cacert ca.crt "${@:2}" "https://$P/v2/_catalog" | tee /dev/stderr | grep -q "\"$1/"; }
public_only() { catalog public && ! catalog team; }
step rules-catalog-anon public_only
step rules-catalog-bob catalog team -u bob:secret

# --- behind nginx with TLS: pounce trusts its headers, and those of no other client
N=$HOST:$(free_port) addr=127.0.0.1:$(free_port)
served B "http://$addr" REGISTRY_HTTP_ADDR="$addr" REGISTRY_HTTP_TRUSTEDPROXIES=127.0.0.0/8
cat >nginx.conf <<C
daemon off; master_process off; pid $W/nginx.pid; error_log stderr; events {}
http { access_log off; client_body_temp_path $W/nb; proxy_temp_path $W/np; fastcgi_temp_path $W/nf;
  uwsgi_temp_path $W/nu; scgi_temp_path $W/ns;
  server { listen $ADDRESS:${N#*:} ssl; ssl_certificate $W/first/crt; ssl_certificate_key $W/first/key;
    client_max_body_size 0;
    location / { proxy_pass http://$B; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_set_header Host \$http_host; proxy_set_header X-Forwarded-Proto \$scheme; } } }
C
nginx -e stderr -c "$W/nginx.conf" >nginx.log 2>&1 &
pids+=($!)
trust "$N"
until_ok curl -sf --cacert ca.crt "https://$N/healthz" || cat nginx.log
for client in docker ctr skopeo; do
  step nginx-$client-push ${client}_push "$N/public/$client:1" alice:secret
  step nginx-$client-pull pulls $client "$N/public/$client:1"
  step nginx-$client-anon-push refused "$no_scope" ${client}_push "$N/public/new-$client:1"
done
location() { # location WANTED CURL-OPTION...: the answer's Location begins with WANTED
  curl -sf -D - -o /dev/null --cacert ca.crt "${@:2}" | tr -d '\r' | grep -i '^location:' | tee /dev/stderr | grep -q " $1"
}
config=$(skopeo inspect --raw "docker://$N/public/skopeo:1" | grep -o 'sha256:[0-9a-f]*' | head -n1)
upload=/v2/public/app/blobs/uploads/ blob=/v2/public/skopeo/blobs/$config
step nginx-upload location "https://$N$upload" -u alice:secret -X POST "https://$N$upload"
step nginx-blob location "https://$N/" "https://$N$blob"
step stranger-upload location "$upload" -u alice:secret -X POST -H 'X-Forwarded-Proto: https' \
  -H 'X-Forwarded-Host: example.com' "http://$H$upload"

# --- the files change while pounce runs
shown() { # shown DIRECTORY: clients get the certificate in it
  local serial=$(hello "$S" 2>/dev/null | openssl x509 -noout -serial)
  echo "$serial"
  [ "$serial" = "$(openssl x509 -noout -serial -in "$1/crt")" ]
}
renew() { ln -s second new && mv -T new live && until_ok shown second && shown second; }
step certificate-first shown first
step certificate-renewed renew
step certificate-docker docker_push "$S/interop/renewed:1" alice:secret
token=$(curl -sf --cacert ca.crt -u alice:secret "https://$P/v2/token" | sed 's/.*"token":"\([^"]*\)".*/\1/')
manifest() { curl -sSf --cacert ca.crt -H "Authorization: Bearer $token" -o /dev/null "https://$P/v2/team/app/manifests/1"; }
change() { cp users old && (grep -v '^alice:' old; "$@") >new && mv new users; } # change COMMAND...: alice's line
remove() { change && until_ok refused 401 asked -f "https://$S/v2/" && until_ok refused 401 manifest; }
step user-has-token manifest
step user-removed remove
step user-docker refused "$nobody" docker push -q "$S/interop/renewed:1"
step user-token refused 401 manifest
comes_back() { change user alice changed && until_ok as docker "$S" alice:changed && docker push -q "$S/interop/renewed:1"; }
step user-comes-back comes_back
step user-old-password refused "$wrong" as docker "$S" alice:secret

verdict H.log S.log M.log T.log O.log P.log B.log
