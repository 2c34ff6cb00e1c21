#!/usr/bin/env bash
# docker/make_base.sh: a small Debian with python3, bash, git, ps and tar as the image milepost/base:SUITE, without a registry.
# Needs root, debootstrap and a docker engine (of any machine: the tree is sent to it). SUITE and MIRROR may be set.
set -euo pipefail
cd "$(dirname "$0")"
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
root=$(mktemp -d)
cleanup() {
  umount "$root/proc" "$root/sys" 2>/dev/null || true # debootstrap leaves them where it fails
  rm -rf --one-file-system "$root"
}
trap cleanup EXIT
debootstrap --variant=minbase --include=bash,ca-certificates,git,procps,python3,python3-venv,tar "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -20 "$root.log" >&2; rm -f "$root.log"; exit 1; }
rm -f "$root.log" "$root/etc/resolv.conf" "$root/etc/hostname" # this machine's own
tar -C "$root" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* --exclude=./var/cache/apt/* --exclude=./var/lib/apt/lists/* \
  --exclude=./var/log/* --exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/locale/* -c . |
  docker import --change 'CMD ["bash"]' --change "LABEL milepost.source=$(cksum <make_base.sh | tr ' ' -)" - "milepost/base:$suite"
