"""Names and contents of the archive."""

import os
import tarfile

FILES = {
    "tool-2.4.1/README": b"A tool.\n",
    "tool-2.4.1/lib/tool.sh": b"echo tool\n",
    "tool-2.4.1/lib/util/text.sh": b"tr a-z A-Z\n",
    "tool-2.4.1/docs/guide.md": b"# Guide\n",
}


def members() -> dict[str, bytes | None]:
    """Name -> content of each file, None of a directory."""
    with tarfile.open("/app/release.tar.gz", "r:gz") as archive:
        files = {m.name: archive.extractfile(m) if m.isfile() else None for m in archive}
        return {name: None if file is None else file.read() for name, file in files.items()}


def test_files_have_the_layout() -> None:
    """Each file at its place, and no other."""
    assert {n: data for n, data in members().items() if data is not None} == FILES


def test_names_are_relative() -> None:
    """All below the one directory."""
    assert members() and all(n == "tool-2.4.1" or n.startswith("tool-2.4.1/") for n in members())


def test_left_out() -> None:
    """No directory of what was left out either."""
    assert not any(part in (".cache", "tests", "src") for n in members() for part in n.split("/"))


def test_project_is_as_it_was() -> None:
    """Nothing was moved away."""
    found = sorted(os.path.join(p, f)[len("/app/project/") :] for p, _, files in os.walk("/app/project") for f in files)
    assert found == [
        "README", "VERSION", "docs/guide.md", "docs/guide.md~", "setup.tmp", "src/.cache/x.bin", "src/tool.sh",
        "src/util/text.sh", "src/util/text.sh.tmp", "tests/check.sh",
    ]  # fmt: skip
