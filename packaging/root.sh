#!/bin/sh
# Lays the files of the image: the static program with what it reads in FOLDER/root, and FOLDER/registry, which is for
# what it writes.
# usage: root.sh PROGRAM FOLDER [NOTICES]
set -eu
mkdir -p "$2/registry" "$2/root/etc/ssl/certs" "$2/root/licenses" "$2/root/tmp" "$2/root/var/lib"
# `pounce gc` of a large bucket sorts in /tmp.
chmod 1777 "$2/root/tmp"
install -m 755 "$1" "$2/root/pounce"
# Of Debian's package, without the CAs that an administrator of this machine added.
cat /usr/share/ca-certificates/mozilla/*.crt >"$2/root/etc/ssl/certs/ca-certificates.crt"
# Without it, the C library may ask DNS before /etc/hosts.
echo 'hosts: files dns' >"$2/root/etc/nsswitch.conf"
install -m 644 "$(dirname "$0")/../LICENSE" "$2/root/licenses/"
[ -z "${3:-}" ] || install -m 644 "$3" "$2/root/licenses/"
