#!/bin/bash
set -e
cd /app
python3 - <<'EOF'
import glob


def clean(path):
    with open(path, encoding="utf-8") as f:
        for line in f.read().splitlines():
            yield line, line.partition("#")[0].strip().lower()


gone = {address for _, address in clean("unsubscribed.txt")}
found, bad = {}, []
for path in sorted(glob.glob("lists/*.txt")):
    for line, address in clean(path):
        left, at, right = address.partition("@")
        if not address:
            continue
        if not left or not right or "@" in right:
            bad.append(line)
        elif address not in gone:
            found[address] = True
open("all.txt", "w").write("".join(f"{a}\n" for a in found))
open("bad.txt", "w").write("".join(f"{b}\n" for b in bad))
EOF
