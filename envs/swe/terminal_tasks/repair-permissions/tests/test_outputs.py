"""Modes of every file and directory."""

import os
import stat

MODES = {
    "": 0o755, "index.html": 0o644, "bin": 0o755, "bin/start.sh": 0o755, "bin/readme": 0o644, "data": 0o755,
    "data/a b.csv": 0o644, "keys": 0o700, "keys/server.key": 0o600, "keys/old": 0o700, "keys/old/rotate.sh": 0o600,
}  # fmt: skip


def modes() -> dict[str, int]:
    """Path -> mode, of all that is there."""
    found = {"": stat.S_IMODE(os.stat("/app/site").st_mode)}
    for place, folders, files in os.walk("/app/site"):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            found[os.path.relpath(path, "/app/site")] = stat.S_IMODE(os.lstat(path).st_mode)
    return found


def test_nothing_is_lost_or_new() -> None:
    """The same names."""
    assert sorted(modes()) == sorted(MODES)


def test_directories() -> None:
    """Open, but not the keys."""
    assert {p: m for p, m in modes().items() if os.path.isdir(f"/app/site/{p}")} == {
        p: m for p, m in MODES.items() if os.path.isdir(f"/app/site/{p}")
    }


def test_files() -> None:
    """Each file's mode."""
    assert modes() == MODES


def test_content_is_as_it_was() -> None:
    """Nothing was written."""
    with open("/app/site/keys/server.key", encoding="utf-8") as f:
        assert f.read() == "not a real key\n"
