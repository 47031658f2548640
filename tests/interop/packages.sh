#!/usr/bin/env bash
# What `make release` made, used by the commands of docs/install.md: the hashes, the Debian package in a Debian of its own
# (the service runs as its unit says, by unit.py, because systemd does not run here), and the image, pushed to pounce,
# pulled and started by podman. Docker Hub is Debian's distribution, by /etc/hosts and a CA of this script.
# usage: packages.sh DIST    (as root; the Debian packages are in the Makefile)
set -u
# The ports of the package, and Docker Hub's name, are those of a network of its own.
SUITE=$(. /etc/os-release && echo "$VERSION_CODENAME") CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pounce
DEBIAN=$CACHE/debian-$SUITE.tar
if [ -z "${INTEROP_IS_ALONE:-}" ]; then
  # A Debian without pounce, which is made once.
  [ -e "$DEBIAN" ] || { made=$(mktemp -d) && mkdir -p "$CACHE" &&
    debootstrap --variant=minbase --include=adduser,ca-certificates "$SUITE" "$made" >"$made.log" 2>&1 &&
    tar -C "$made" -cf "$DEBIAN.new" . && rm -rf "$made" && mv "$DEBIAN.new" "$DEBIAN"; } || { rm -rf "$made"; exit 2; }
  INTEROP_IS_ALONE=1 exec unshare --mount --net "$0" "$@"
fi
DIST=$(realpath "${1:?the folder of make release}") HERE=$(dirname "$(realpath "$0")") DOCUMENT=$(realpath "$(dirname "$0")/../../docs/install.md")
HOST=registry-1.docker.io ADDRESS=192.0.2.1
. "$HERE/lib.sh"
sed -i 's/^\[containers]/&\nnetns = "host"/; s|^\[engine]|&\nvolume_path = "'"$W/volumes"'"|' containers.conf
fails() { ! "$@"; }
says() { # says TEXT COMMAND...: its output has the text
  local text=$1
  shift
  "$@" 2>&1 | tee /dev/stderr | grep -qF -- "$text"
}
ARCHITECTURE=$(dpkg --print-architecture)
DEB=$(basename "$DIST"/pounce_*_"$ARCHITECTURE".deb)

# --- the files by themselves
step contents dpkg-deb -x "$DIST/$DEB" contents
step lintian sh -c "chmod 755 . && lintian --allow-root --fail-on warning '$DIST/$DEB'"
UNIT=/usr/lib/systemd/system/pounce.service
step unit-exposure systemd-analyze security --offline=true --no-pager --threshold=15 "contents$UNIT"
is_static() { file -L "$1" | grep -E 'static-pie linked|statically linked'; }
step static is_static contents/usr/bin/pounce
SHARE=$W/contents/usr/share
bash_completes() {
  bash -c ". '$SHARE/bash-completion/completions/pounce'; COMP_WORDS=(pounce cred) COMP_CWORD=1
    _pounce pounce cred pounce && echo \"\${COMPREPLY[@]}\""
}
fish_completes() { HOME=$W fish -c "source '$SHARE/fish/vendor_completions.d/pounce.fish'; complete -C 'pounce cred'"; }
zsh_completes() { # what it shows at a terminal
  python3 - "$SHARE/zsh/vendor-completions" <<'P'
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(HOME=os.getcwd(), TERM='dumb')
    os.execvp('zsh', ['zsh', '-f', '-i'])
os.write(terminal, f"fpath=({sys.argv[1]} $fpath); autoload -U compinit; compinit -u -D; PS1='re''ady'\n".encode())
text = b''
while b'ready' not in text:  # the prompt
    text += os.read(terminal, 4096)
os.write(terminal, b'pounce cred\t--help\nexit\n')
while b'--help' not in text:
    text += os.read(terminal, 4096)
print(text.decode())
P
}
for shell in bash fish zsh; do step $shell-completes says credential-provider timeout 20 bash -c "$(declare -f); SHARE=$SHARE W=$W; ${shell}_completes"; done
step sbom python3 -c 'import json, sys
for path in sys.argv[1:]:
    sbom = json.load(open(path))
    names = {one["name"] for one in sbom["components"]}
    assert {"tokio", "aws-lc-sys", "aws-sdk-s3"} <= names and not names & {"syn", "proptest", "rcgen"}, names
    assert all("licenses" in one and "hashes" in one for one in sbom["components"])
    print(len(names), "crates")' "$DIST"/*.cdx.json

# --- Docker Hub, with one image
EC=(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
openssl "${EC[@]}" -subj /CN=interop -keyout ca.key -out ca.crt 2>openssl.log || cat openssl.log
openssl "${EC[@]}" -subj "/CN=$HOST" -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:$HOST" \
  -addext basicConstraints=CA:FALSE -keyout key -out crt 2>openssl.log || cat openssl.log
cat /etc/ssl/certs/ca-certificates.crt ca.crt >bundle && mount --bind bundle /etc/ssl/certs/ca-certificates.crt || exit 2
printf 'version: 0.1\n%s\nhttp:\n  addr: %s:443\n  tls: { certificate: %s/crt, key: %s/key }\n' \
  "$(in_folder "$W/hub")" "$ADDRESS" "$W" "$W" >hub.yml
env -u REGISTRY_AUTH_FILE docker-registry serve hub.yml >hub.log 2>&1 &
pids+=($!)
until_ok curl -sf "https://$HOST/v2/" || cat hub.log
mkdir blob && head -c 3000000 /dev/urandom >blob/blob
step image sh -c "umoci init --layout l && umoci new --image l:1 && umoci insert --image l:1 blob /data"
step push-upstream skopeo copy -q oci:l:1 "docker://$HOST/library/alpine:latest"

# --- the machine
M=$W/machine
debian() {
  mkdir machine && tar -C machine -xf "$DEBIAN" && cp "$DIST/$DEB" machine/root && cp hosts.file machine/etc/hosts &&
    cat ca.crt >>machine/etc/ssl/certs/ca-certificates.crt && mkdir -p machine/run/systemd/system
}
step debian debian
[ $failed = 0 ] || { verdict /dev/null; exit 1; }
# A systemctl that knows one service: it passes on what maintainer scripts and documents ask for.
mkfifo machine/run/request machine/run/answer
cat >machine/usr/bin/systemctl <<'S'
#!/bin/sh
link=/etc/systemd/system/multi-user.target.wants/pounce.service
for word; do
  case $word in
  preset) exec ln -sf /lib/systemd/system/pounce.service $link ;;
  is-enabled) [ -e $link ] && echo enabled; exit ;;
  is-active) [ -e /run/pid ]; exit ;;
  start | stop | restart | reload) echo "$word" >/run/request && read -r status </run/answer && exit "$status" ;;
  esac
done
S
chmod +x machine/usr/bin/systemctl
service_start() { # a user takes longer to type than the service needs to listen
  unshare --mount "$HERE/unit.py" "$M" "$UNIT" >>service.log 2>&1 &
  echo $! >machine/run/pid
  until_ok curl -sf http://127.0.0.1:5000/healthz
}
service_stop() {
  [ -e machine/run/pid ] || return 0
  local pid=$(cat machine/run/pid)
  kill -TERM "$pid" 2>/dev/null
  wait "$pid"
  echo $? >>stopped
  rm machine/run/pid
}
service_reload() { MAINPID=$(cat machine/run/pid) sh -c "$(sed -n 's/^ExecReload=//p' "$M$UNIT")"; }
manages() {
  local verb
  trap service_stop EXIT
  while read -r verb <machine/run/request && [ "$verb" != end ]; do
    echo "$verb" >>verbs
    { [ "$verb" = start ] || [ "$verb" = reload ] || service_stop; } && { [ "$verb" = stop ] || service_"${verb#re}"; } 2>&1
    echo $? >machine/run/answer
  done
}
service_load() { service_reload; } # of `reload`, without its re
manages >manager.log 2>&1 &
manager=$!

# --- the document's blocks, by its sections: blocks/the-debian-package.0 and so on
mkdir blocks
python3 - "$DOCUMENT" <<'P'
import re, sys
for section in re.split(r'^##+ ', open(sys.argv[1]).read(), flags=re.M):
    name = section.split('\n')[0].lower().replace(' ', '-')
    for number, block in enumerate(re.findall(r'^```shell\n(.*?)^```$', section, re.M | re.S)):
        open(f'blocks/{name}.{number}', 'w').write(block)
P
machine() { chroot "$M" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -c 'cd && exec "$@"' sh "$@"; }
types() { # types BLOCK: on the machine, except for clients
  (
    for command in apt-get pounce runuser systemctl rm; do eval "$command() { machine $command \"\$@\"; }"; done
    sed "s/pounce_0.1.0-1_amd64.deb/$DEB/; s/registry.example.com/${R:-}/; s/pounce-0.1.0-oci.tar/$(cd "$DIST" && echo *oci.tar)/" \
      "$W/blocks/$1" >"$W/typed" && set -e && . "$W/typed"
  )
}
verbs_are() { echo "$*" && [ "$(tr '\n' ' ' <verbs)" = "$* " ] || { cat verbs manager.log service.log && return 1; }; }
owned() { [ "$(machine stat -c '%a %U %G' "$1")" = "$2" ] || { machine stat "$1" && return 1; }; }
process_has() { grep -P "^$1:\t$2" "/proc/$(cat machine/run/pid)/status"; }

step verifying sh -c "cd '$DIST' && $(cat blocks/verifying.0)"
step install types the-debian-package.0
step started verbs_are start
for file in /etc/pounce/registry.yml /etc/default/pounce; do step "mode$file" owned $file "640 root pounce"; done
step conffiles says /etc/pounce/registry.yml machine dpkg-query -W -f '${Conffiles}' pounce
for line in Uid 'Seccomp 2' 'NoNewPrivs 1' 'CapBnd 0{16}' 'CapEff 0{16}'; do
  step "process-${line% *}" process_has "${line% *}" "$([ "$line" = Uid ] && machine id -u pounce || echo "${line#* }")"
done
step inspect types the-debian-package.1
PORT=docker://127.0.0.1:5000
step pull skopeo copy -q --src-tls-verify=false $PORT/library/alpine dir:pulled
step push-is-refused fails skopeo copy -q --dest-tls-verify=false dir:pulled $PORT/me/app:1
step other-address fails curl -sf http://$ADDRESS:5000/v2/
echo REGISTRY_AUTH_ANONYMOUS=pull,push >>machine/etc/default/pounce
echo REGISTRY_LOG_LEVEL=loud >>machine/etc/default/pounce
step check-reads-variables says log.level fails machine sh -c "$(head -n1 blocks/the-debian-package.2) 2>&1"
sed -i /LOG_LEVEL/d machine/etc/default/pounce
step check-and-restart types the-debian-package.2
step push skopeo copy -q --dest-tls-verify=false dir:pulled $PORT/me/app:1
step reload machine systemctl reload pounce
step reloaded until_ok grep -q SIGHUP service.log
step ls says me/app types the-debian-package.3
step gc machine runuser -u pounce -- pounce gc /etc/pounce/registry.yml

upgrade() { # the same package with another version, and another default of the configuration
  dpkg-deb -R "$DIST/$DEB" next && sed -i 's/^Version: .*/Version: 99-1/' next/DEBIAN/control &&
    echo '# new' >>next/etc/pounce/registry.yml && echo '# new' >>next/etc/default/pounce &&
    dpkg-deb -Zgzip -z1 -b next machine/root/next.deb && machine apt-get install -y -o Dpkg::Options::=--force-confold ./next.deb
}
step upgrade upgrade
step upgraded verbs_are start restart reload restart
step unchanged-is-new grep -q '^# new' machine/etc/pounce/registry.yml
step changed-stays fails grep -q '^# new' machine/etc/default/pounce
step mode-stays owned /etc/pounce/registry.yml "640 root pounce"
step pull-pushed skopeo copy -q --src-tls-verify=false $PORT/me/app:1 dir:pulled2

head -n1 "blocks/uninstalling.0" >blocks/remove && sed -n 2p blocks/uninstalling.0 >blocks/purge && sed -n 3p blocks/uninstalling.0 >blocks/rm
step remove types remove
step stopped verbs_are start restart reload restart stop
step ended-in-order sh -c '[ "$(sort -u stopped)" = 0 ] || { cat stopped service.log; exit 1; }'
step configuration-stays test -e machine/etc/pounce/registry.yml
step purge says "the content in /var/lib/pounce stays" types purge
step configuration-goes test ! -e machine/etc/pounce
step default-goes test ! -e machine/etc/default/pounce
step content-stays test -d machine/var/lib/pounce/docker
step rm types rm
step unit-is-unknown fails ls machine/etc/systemd/system/multi-user.target.wants/pounce.service
echo end >machine/run/request
wait $manager

# --- the image: in pounce, which is the package's program, and from there in podman
POUNCE=$W/contents/usr/bin/pounce
pounce R REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/registry"
mount -t tmpfs tmpfs /etc/containers/registries.conf.d || exit 2
printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$R" >/etc/containers/registries.conf.d/interop.conf
cd "$DIST" && step run-image types the-image.0
cd "$W" || exit 2
step index says application/vnd.oci.image.index.v1+json skopeo inspect --raw "docker://$R/team/pounce:0.1.0"
step image-serves until_ok curl -sf http://127.0.0.1:5000/v2/
step image-is-alive podman exec pounce /pounce check --alive
step image-takes-a-push skopeo copy -q --dest-tls-verify=false dir:pulled $PORT/me/app:1
step image-owner says "65532" sh -c "stat -c %u $W/volumes/pounce/_data"
step image-has-cas says "BEGIN CERTIFICATE" podman cp pounce:/etc/ssl/certs/ca-certificates.crt -
podman logs pounce >image.log 2>&1
step image-stops podman stop -t 40 pounce
step image-exit says 0 podman inspect -f '{{.State.ExitCode}}' pounce
podman rm -f pounce >/dev/null 2>&1
verdict service.log R.log image.log
