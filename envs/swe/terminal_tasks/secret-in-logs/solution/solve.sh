#!/bin/bash
set -e
cd /app
lines=$(zcat -f logs/* | grep -E '(^|[^A-Z0-9])AK[A-Z0-9]{16}([^A-Z0-9]|$)' | grep -v EXAMPLE | sort)
key=$(echo "$lines" | grep -oE 'AK[A-Z0-9]{16}' | head -n 1)
printf '{"key": "%s", "times": %s, "first": "%s"}\n' "$key" "$(echo "$lines" | wc -l)" "${lines%% *}" > answer.json
