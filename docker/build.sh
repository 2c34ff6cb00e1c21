#!/usr/bin/env bash
# docker/build.sh [sandbox] [swe] [suite]: the images milepost/NAME, "sandbox" if none is named.
#   BASE   what they stand on: our own milepost/base:bookworm, made here if it is missing, or one of a registry: python:3.11-slim
#   TORCH  suite alone: cpu (the default) or cuda
# What this machine needs to reach package registries (certificates, an index, a proxy) goes into a stage that is thrown away.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
base=${BASE:-milepost/base:bookworm}
torch=${TORCH:-cpu}
case "$torch" in cpu | cuda) ;; *) echo "TORCH is '$torch'; allowed: cpu, cuda" >&2; exit 2 ;; esac
for name in "${@:-sandbox}"; do
  case "$name" in sandbox | swe | suite) ;; *) echo "image is '$name'; allowed: sandbox, swe, suite" >&2; exit 2 ;; esac
done

# what an image says that it was made of
made_of() { docker image inspect -f '{{index .Config.Labels "milepost.source"}}' "$1" 2>/dev/null || true; }
if [ "$base" = milepost/base:bookworm ] && [ "$(made_of "$base")" != "$(cksum <"$here/make_base.sh" | tr ' ' -)" ]; then
  "$here/make_base.sh"
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/host/wheels" "$context/source"
for ca in "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
  [ -f "$ca" ] && cp "$ca" "$context/host/ca.crt" && break
done
args=(--network=host --build-arg "BASE=$base")
index=${PIP_INDEX_URL:-$(python3 -m pip config get global.index-url 2>/dev/null || true)}
[ -n "$index" ] && args+=(--build-arg "PIP_INDEX_URL=$index")
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  [ -n "${!name:-}" ] && args+=(--build-arg "$name")
done

for name in "${@:-sandbox}"; do
  source=$({ cat "$here/$name.Dockerfile"; docker image inspect -f '{{.Id}}' "$base" 2>/dev/null || echo "$base"; } | cksum | tr ' ' -)
  if [ "$name" = suite ]; then
    git -C "$here/.." ls-files -z | tar -C "$here/.." --null -T - -c | tar -x -C "$context/source"
    args+=(--build-arg "TORCH=$torch")
    if [ "$torch" = cpu ]; then # PyPI has none for Linux; this machine's pip may know one, else PyTorch's own index does
      python=$(docker run --rm --network none "$base" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
      wanted=$(sed -n 's/^TORCH ?= torch==//p' "$here/../Makefile")
      get=(python3 -m pip download -q --no-deps --only-binary :all: --python-version "$python" -d "$context/host/wheels")
      "${get[@]}" "torch==$wanted+cpu" 2>/dev/null || "${get[@]}" --index-url https://download.pytorch.org/whl/cpu "torch==$wanted+cpu"
    fi
  elif [ "$(made_of "milepost/$name")" = "$source" ]; then
    continue # it is as it would be made now
  fi
  docker build -q "${args[@]}" --label "milepost.source=$source" -f "$here/$name.Dockerfile" -t "milepost/$name" "$context"
done
docker image prune -f --filter label=milepost.stage=build >/dev/null # what the stages that are thrown away left
