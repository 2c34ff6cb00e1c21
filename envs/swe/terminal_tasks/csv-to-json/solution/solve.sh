#!/bin/bash
set -e
cd /app
python3 - <<'EOF'
import csv
import json

found = {}
with open("people.csv", newline="", encoding="utf-8") as f:
    for row in csv.DictReader(f, skipinitialspace=True):
        row = {k: v.strip() for k, v in row.items()}
        found[int(row["id"])] = {
            "id": int(row["id"]),
            "name": row["name"],
            "city": row["city"] or None,
            "score": float(row["score"]) if row["score"] else None,
        }
with open("people.json", "w", encoding="utf-8") as f:
    json.dump([found[k] for k in sorted(found)], f, indent=1)
EOF
