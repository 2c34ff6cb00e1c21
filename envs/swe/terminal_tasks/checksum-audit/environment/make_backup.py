"""Makes the backup and the spare copies; runs once, when the image is built."""

import hashlib
import os

texts = {
    "a.txt": "first\n", "b c.txt": "second\n", "deep/d.txt": "third\n", "deep/er/e.bin": "fourth\n" * 50,
    "f.txt": "", "g.txt": "seventh\n",
}  # fmt: skip


def put(path: str, text: str) -> None:
    """Writes a file with its directories."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


lines = []
for name, text in texts.items():
    put(f"backup/{name}", text)
    lines.append(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n")
put("backup/SHA256SUMS", "".join(lines))
put("backup/a.txt", "fir5t\n")
put("backup/deep/er/e.bin", "fourth\n" * 49)
os.remove("backup/b c.txt")
os.remove("backup/g.txt")
put("backup/new/h.txt", "eighth\n")
put("spare/001", "first\n")
put("spare/x/002", "second\n")
put("spare/x/003", "fourth\n" * 49)
put("spare/x/y/g.txt", "seventh, not quite\n")
put("spare/004", "third\n")
