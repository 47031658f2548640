#!/usr/bin/env bash
# docs/first-pull.md by itself: its shell blocks are what is typed, on a machine with containerd and pounce and nothing of
# either configured, and every line of its text blocks is printed, in their order. Docker Hub is Debian's distribution
# with an image of this script, by /etc/hosts and a CA of its own; it is gone before the part that does without it.
# usage: first_pull.sh PATH_TO_POUNCE    (as root; the Debian packages are in the Makefile)
set -u
# The document's port, /etc/containerd and trusted CAs are those of a machine of its own.
if [ -z "${INTEROP_IS_ALONE:-}" ]; then INTEROP_IS_ALONE=1 exec unshare --mount --net "$0" "$@"; fi
POUNCE=$(realpath "${1:?the pounce program}")
DOCUMENT=$(realpath "$(dirname "$0")/../../docs/first-pull.md")
HOST=registry-1.docker.io ADDRESS=192.0.2.1
mount -t tmpfs tmpfs /etc/containerd || exit 2
. "$(dirname "$(realpath "$0")")/lib.sh"
unset -f pounce # the program, not the function of lib.sh
mkdir bin home && ln -s "$POUNCE" bin/pounce
# A user that is root types no sudo.
printf '#!/bin/sh\nexec "$@"\n' >bin/sudo && chmod +x bin/sudo
export PATH=$W/bin:$PATH CONTAINERD_ADDRESS=$W/c.sock

# --- Docker Hub, with one image
EC=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
openssl "${EC[@]}" -subj /CN=interop -keyout ca.key -out ca.crt 2>openssl.log || cat openssl.log
openssl "${EC[@]}" -subj "/CN=$HOST" -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:$HOST" \
  -addext basicConstraints=CA:FALSE -keyout key -out crt 2>openssl.log || cat openssl.log
cat /etc/ssl/certs/ca-certificates.crt ca.crt >bundle && mount --bind bundle /etc/ssl/certs/ca-certificates.crt || exit 2
printf 'version: 0.1\n%s\nhttp:\n  addr: %s:443\n  tls: { certificate: %s/crt, key: %s/key }\n' \
  "$(in_folder "$W/hub")" "$ADDRESS" "$W" "$W" >hub.yml
env -u REGISTRY_AUTH_FILE docker-registry serve hub.yml >hub.log 2>&1 &
hub=$! && pids+=($hub)
until_ok curl -sf "https://$HOST/v2/" || cat hub.log
mkdir root && head -c 3000000 /dev/urandom >root/blob
step image sh -c "umoci init --layout l && umoci new --image l:1 && umoci insert --image l:1 root /data"
step push skopeo copy -q --authfile auth.json oci:l:1 "docker://$HOST/library/alpine:latest"

# --- the document's blocks in their order: blocks/01.0.shell and so on, with the number of the section
mkdir blocks
python3 - "$DOCUMENT" <<'P'
import re, sys
number = 0
for section, text in enumerate(re.split(r'^## ', open(sys.argv[1]).read(), flags=re.M)):
    for kind, block in re.findall(r'^```(shell|text)\n(.*?)^```$', text, re.M | re.S):
        open(f'blocks/{number:02}.{section}.{kind}', 'w').write(block)
        number += 1
P
four() { [ "$(cat blocks/*.1.shell | wc -l)" = 4 ]; }
step four-commands four

types() { # types BLOCK: what it prints is in the file `said`
  said=$W/said
  if ! grep -q 'pounce serve' "$1"; then
    (cd home && bash -e "$W/$1") >said 2>&1
    return
  fi
  said=$W/serve.log
  (cd home && exec $(cat "$W/$1")) >serve.log 2>&1 &
  pids+=($!)
  until_ok grep -q 'try it' serve.log
}
prints() { # prints BLOCK FILE: every line of the block is one of the file, in the same order; … stands for any text
  python3 - "$@" <<'P'
import re, sys
said = iter(re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', line.rstrip()) for line in open(sys.argv[2]))
for line in open(sys.argv[1]).read().splitlines():
    pattern = '.*'.join(re.escape(part) for part in line.split('…'))
    if line != '…' and not any(re.fullmatch(pattern, other) for other in said):
        sys.exit(f'not printed: {line}\n' + open(sys.argv[2]).read())
P
}
began=$(date +%s) said=
for block in blocks/*; do
  name=$(basename "$block")
  case $name in
  *.2.shell) [ -z "$hub" ] || { step hub-ends ends "$hub"; hub=; } ;;
  esac
  case $name in
  *.shell) step "$name" types "$block" ;;
  *.text) step "$name-is-printed" prints "$block" "$said" ;;
  esac
done
five_minutes() { [ $(($(date +%s) - began)) -lt 300 ]; }
step five-minutes five_minutes
verdict serve.log
