"""The links, and what they lead to."""

import os

LINKS = {"api": "1.10", "web": "2.0", "worker": "0.9"}


def test_names() -> None:
    """The links of the manifest, and the file."""
    assert sorted(os.listdir("/app/current")) == ["README", *sorted(LINKS)]


def test_links_lead_to_the_releases() -> None:
    """Relative links to the right version."""
    for name, version in LINKS.items():
        target = os.readlink(f"/app/current/{name}")
        assert not target.startswith("/")
        assert os.path.realpath(f"/app/current/{name}") == f"/app/releases/{name}/{version}"
        with open(f"/app/current/{name}/run", encoding="utf-8") as f:
            assert f.read() == f"{name} {version}\n"


def test_releases_are_as_they_were() -> None:
    """No release was moved or linked."""
    found = sorted(os.path.join(p, f) for p, _, files in os.walk("/app/releases") for f in files)
    versions = ["api/1.10", "api/1.2", "cron/3.1", "web/2.0", "worker/0.9"]
    assert found == [f"/app/releases/{v}/run" for v in versions] and not any(map(os.path.islink, found))
