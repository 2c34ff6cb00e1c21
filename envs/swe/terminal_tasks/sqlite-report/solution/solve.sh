#!/bin/bash
set -e
cd /app
python3 - <<'EOF'
import csv
import sqlite3

query = """
SELECT c.name, COUNT(DISTINCT o.id), COALESCE(SUM(l.count * l.cents), 0) AS total
FROM customers c JOIN orders o ON o.customer = c.id LEFT JOIN lines l ON l.order_id = o.id
WHERE o.state = 'paid' AND o.day LIKE '2023-%' GROUP BY c.id ORDER BY total DESC, c.name LIMIT 3
"""
rows = sqlite3.connect("shop.db").execute(query).fetchall()
with open("top.csv", "w", newline="", encoding="utf-8") as f:
    out = csv.writer(f)
    out.writerow(["name", "orders", "total"])
    out.writerows((name, n, f"{cents // 100}.{cents % 100:02}") for name, n, cents in rows)
EOF
