"""Writes the logs; runs once, when the image is built."""

import gzip
import random

rng = random.Random(11)
key = "AK" + "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(16))
near = key[:-3]  # too short
days = {"2024-02-27": 1, "2024-02-28": 0, "2024-02-29": 2, "2024-03-01": 1}
for n, (day, leaks) in enumerate(days.items()):
    lines = []
    for k in range(200):
        what = rng.choice(
            ["GET /", "GET /health", "POST /login user=eve", "cache miss", "AKIAIOSFODNN7EXAMPLE in docs"]
        )
        lines.append(f"{day}T{k // 10:02}:{k % 10 * 6:02}:{rng.randrange(60):02}Z {what}")
    for k in rng.sample(range(200), leaks):
        lines[k] += f" auth={key};retry"
    lines[rng.randrange(200)] += f" auth={near}"
    text = "\n".join(lines) + "\n"
    if n < 2:
        with open(f"logs/service.log.{2 - n}.gz", "wb") as packed:
            packed.write(gzip.compress(text.encode(), mtime=0))
    else:
        with open("logs/service.log" if n == 3 else "logs/other.log", "w") as f:
            f.write(text)
