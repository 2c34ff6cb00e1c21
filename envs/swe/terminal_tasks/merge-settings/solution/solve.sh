#!/bin/bash
set -e
cd /app
python3 - <<'EOF'
import configparser


def read(path):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return {(s, k): v for s in parser.sections() for k, v in parser[s].items()}


base, ours, theirs = (read(f"{n}.ini") for n in ("base", "ours", "theirs"))
merged, conflicts = {}, []
for at in sorted({*base, *ours, *theirs}):
    was, a, b = base.get(at), ours.get(at), theirs.get(at)
    value = b if a == was else a
    if a != was and b != was and a != b:
        conflicts.append(".".join(at))
    if value is not None:
        merged.setdefault(at[0], {})[at[1]] = value
with open("merged.ini", "w", encoding="utf-8") as f:
    for section, keys in merged.items():
        print(f"[{section}]", *(f"{k} = {v}" for k, v in keys.items()), sep="\n", file=f)
with open("conflicts.txt", "w", encoding="utf-8") as f:
    f.writelines(f"{c}\n" for c in conflicts)
EOF
