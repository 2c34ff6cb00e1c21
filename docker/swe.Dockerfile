# For software-engineering tasks: a compiler, Python's headers and what builds and tests packages. docker/build.sh swe makes it.
ARG BASE=python:3.11-slim
FROM $BASE AS build
LABEL milepost.stage=build
COPY host/ /host/
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/venv && if [ -f /host/ca.crt ]; then export PIP_CERT=/host/ca.crt; fi && /opt/venv/bin/pip install --no-cache-dir -q \
    build hatchling hypothesis pytest pytest-timeout pytest-xdist setuptools wheel

FROM $BASE
RUN apt-get update -q && apt-get install -q -y --no-install-recommends g++ gcc git libc6-dev make patch procps \
    && { test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
    || apt-get install -q -y --no-install-recommends python3-dev; } \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
