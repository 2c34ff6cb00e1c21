"""The audit and the repaired backup."""

import json
import os

AUDIT = {"changed": ["a.txt", "deep/er/e.bin"], "missing": ["b c.txt", "g.txt"], "extra": ["new/h.txt"]}
BACKUP = {
    "a.txt": "first\n", "b c.txt": "second\n", "deep/d.txt": "third\n", "deep/er/e.bin": "fourth\n" * 49, "f.txt": "",
    "new/h.txt": "eighth\n",
}  # fmt: skip


def test_audit() -> None:
    """What was found before the repair."""
    with open("/app/audit.json", encoding="utf-8") as f:
        assert json.load(f) == AUDIT


def test_backup() -> None:
    """Repaired where a copy is, and else as it was."""
    found = {}
    for place, _, files in os.walk("/app/backup"):
        for name in files:
            path = os.path.join(place, name)
            with open(path, encoding="utf-8") as f:
                found[os.path.relpath(path, "/app/backup")] = f.read()
    assert len(found.pop("SHA256SUMS").splitlines()) == 6
    assert found == BACKUP


def test_spare_is_as_it_was() -> None:
    """Copies were not moved."""
    assert sorted(f for _, _, files in os.walk("/app/spare") for f in files) == ["001", "002", "003", "004", "g.txt"]
