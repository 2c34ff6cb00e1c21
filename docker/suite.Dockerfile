# The whole suite with its tests, for CPU or CUDA: docker/build.sh suite makes it, TORCH=cuda docker/build.sh suite the other.
ARG BASE=python:3.11-slim
FROM $BASE AS build
LABEL milepost.stage=build
RUN apt-get update -q && apt-get install -q -y --no-install-recommends g++ gcc git libc6-dev make \
    && { test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
    || apt-get install -q -y --no-install-recommends python3-dev; }
COPY host/ /host/
COPY source/ /opt/milepost/
ARG PIP_INDEX_URL
ARG TORCH=cpu
# with TORCH=cpu the wheel lies in /host/wheels; PyPI's own is the one for CUDA
RUN if [ -f /host/ca.crt ]; then export PIP_CERT=/host/ca.crt; fi; export PIP_NO_CACHE_DIR=1; cd /opt/milepost && python3 -m venv /opt/venv \
    && wanted="$(sed -n 's/^TORCH ?= //p' Makefile)" \
    && /opt/venv/bin/pip install -q --find-links /host/wheels "$wanted$([ "$TORCH" = cpu ] && echo +cpu)" \
    && /opt/venv/bin/pip install -q -e '.[dev]' && /opt/venv/bin/pip install -q -e '.[textworld]'

FROM $BASE
RUN { command -v git && command -v ps; } >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends git procps \
    && apt-get clean && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/milepost /opt/milepost
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /opt/milepost
CMD ["milepost", "--help"]
