# Plain Python with pytest: what docker/build.sh sandbox makes.
ARG BASE=python:3.11-slim
FROM $BASE AS build
LABEL milepost.stage=build
COPY host/ /host/
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/venv && if [ -f /host/ca.crt ]; then export PIP_CERT=/host/ca.crt; fi && /opt/venv/bin/pip install --no-cache-dir -q pytest

FROM $BASE
RUN { command -v git && command -v ps; } >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends git procps \
    && apt-get clean && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin
