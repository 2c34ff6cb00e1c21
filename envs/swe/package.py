"""Source distributions: found in a package index, fetched and checked. Here they are data; nothing of them is run.

pip is only asked where the index is: to learn the metadata of a source distribution it would run its build.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html.parser
import http.client
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
from packaging.version import Version

from ..errors import InfraError

MB = 2**20
LARGEST, PAGE = 64 * MB, 32 * MB  # bytes fetched, of a page
PYTHON = ".".join(map(str, sys.version_info[:3]))
WAIT = 60.0  # seconds for an index to say something
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.2"
_ASK_PIP = """
import json
from pip._internal.commands import create_command
o = create_command("download").parser.get_default_values()
print(json.dumps([[] if o.no_index else [o.index_url, *o.extra_index_urls], o.cert]))
"""


@dataclass(frozen=True)
class Sdist:
    """A source distribution that lies on this machine."""

    name: str
    """In the index's spelling: lower case, words joined by ``-``."""
    version: str
    file: Path
    sha256: str
    url: str
    """Where it came from, without a password; "" for a file of the user's."""


@dataclass(frozen=True)
class Link:
    """A file that an index offers."""

    filename: str
    url: str
    sha256: str = ""
    python: str = ""
    """Versions of Python that it is for."""
    yanked: bool = False


def canonical(name: str) -> str:
    """A distribution's name in the index's spelling."""
    return str(canonicalize_name(name))


# -- the index ---------------------------------------------------------------------------------------
def indexes() -> tuple[list[str], str | None]:
    """URLs of the package indexes that pip is set up to use (PIP_INDEX_URL and its files), and its certificates.

    Raises:
        InfraError: nobody says which.
    """
    urls, certificates = _pip_says(tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("PIP_"))))
    if not urls:
        raise InfraError("no package index is known: set PIP_INDEX_URL, or install pip, which knows one")
    return urls, certificates


@functools.lru_cache(4)
def _pip_says(settings: tuple[tuple[str, str], ...]) -> tuple[list[str], str | None]:
    done = subprocess.run([sys.executable, "-c", _ASK_PIP], capture_output=True, text=True)
    if done.returncode == 0:
        urls, certificates = json.loads(done.stdout)
        return urls, certificates
    return [url for name, url in settings if name == "PIP_INDEX_URL"], None  # an environment without pip


def _fetch(url: str, most: int, certificates: str | None, accept: str = "*/*") -> tuple[bytes, str, str]:
    """Bytes, media type, and the URL that they came from in the end."""
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(plain(url), headers={"Accept": accept, "User-Agent": "milepost"})
    if parts.username:
        word = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(word.encode()).decode())
    context = ssl.create_default_context(cafile=certificates)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=WAIT) as answer:
            data: bytes = answer.read(most + 1)
            kind, final = answer.headers.get_content_type(), answer.geturl()
    except urllib.error.HTTPError as e:
        if e.code in (404, 410):
            raise FileNotFoundError(plain(url)) from None
        raise InfraError(f"the package index answers {e.code} for {plain(url)}") from None
    except (OSError, ValueError, http.client.HTTPException) as e:
        reason = getattr(e, "reason", e)
        if isinstance(reason, FileNotFoundError):  # of an index in a folder of this machine
            raise FileNotFoundError(plain(url)) from None
        raise InfraError(f"the package index cannot be reached at {plain(url)}: {reason}") from None
    if len(data) > most:
        raise ValueError(f"{plain(url)} has more than {most} bytes")
    return data, kind, final


def plain(url: str) -> str:
    """A URL without user, password and fragment."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


class _Anchors(html.parser.HTMLParser):
    """Links of a page as PEP 503 wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


def links(page: bytes, kind: str, url: str) -> list[Link]:
    """What a page of a package offers, in JSON (PEP 691) or HTML (PEP 503).

    Raises:
        ValueError: it is neither.
    """
    rows: list[Link] = []
    if kind.endswith("json"):
        try:
            for f in json.loads(page)["files"]:
                yanked = f.get("yanked", False) is not False
                where = urllib.parse.urljoin(url, f["url"])
                sha256 = f.get("hashes", {}).get("sha256", "")
                rows.append(Link(f["filename"], where, sha256, f.get("requires-python") or "", yanked))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"{plain(url)} is no page of a package index: {e!r}") from None
        return rows
    reader = _Anchors()
    reader.feed(page.decode("utf-8", "replace"))
    for a in reader.found:
        where = urllib.parse.urljoin(url, a.get("href") or "")
        parts = urllib.parse.urlsplit(where)
        sha256 = urllib.parse.parse_qs(parts.fragment).get("sha256", [""])[0]
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
        rows.append(Link(name, where, sha256, a.get("data-requires-python") or "", "data-yanked" in a))
    return rows


def _version(link: Link, name: str) -> Version | None:
    """Of a source distribution of that name which this Python may use."""
    try:
        called, version = parse_sdist_filename(link.filename)
        fits = SpecifierSet(link.python).contains(PYTHON, prereleases=True)
    except (InvalidSdistFilename, InvalidSpecifier):  # a wheel, or nothing that is published nowadays
        return None
    return version if called == name and fits else None


def _find(wanted: Requirement) -> tuple[Link, str | None]:
    """The newest fitting source distribution of all indexes.

    Raises:
        ValueError: there is none.
        InfraError: an index cannot be reached.
    """
    name = canonical(wanted.name)
    urls, certificates = indexes()
    found: list[tuple[Version, Link]] = []
    for index in urls:
        page = f"{index.rstrip('/')}/{name}/"
        page += "index.html" if page.startswith("file:") else ""
        try:
            data, kind, final = _fetch(page, PAGE, certificates, _ACCEPT)
        except FileNotFoundError:
            continue
        user = urllib.parse.urlsplit(index).netloc.rpartition("@")[0]
        for link in links(data, kind, final):
            at = urllib.parse.urlsplit(link.url)
            if at.scheme not in ("http", "https") and not index.startswith("file:"):
                continue  # a page of the network that points to a file of this machine
            if user and at.netloc == urllib.parse.urlsplit(final).netloc:
                link = Link(**{**vars(link), "url": at._replace(netloc=f"{user}@{at.netloc}").geturl()})
            version = _version(link, name)
            if version is not None and (not link.yanked or f"=={version}" in str(wanted.specifier)):
                found.append((version, link))
    allowed = set(wanted.specifier.filter({v for v, _ in found}))
    fitting = [pair for pair in found if pair[0] in allowed]
    if not fitting:
        where = ", ".join(plain(u) for u in urls)
        have = ", ".join(map(str, sorted({v for v, _ in found})[-5:])) or "none"
        raise ValueError(
            f"no source distribution of {str(wanted)!r} for this Python in {where}; there are of this name: {have}"
        )
    return max(fitting, key=lambda pair: pair[0])[1], certificates


def fetch(spec: str, folder: Path) -> Sdist:
    """A source distribution: out of an index, or a file.

    Args:
        spec: ``NAME``, ``NAME==VERSION`` or another specifier, or the path of a ``.tar.gz`` or ``.zip``.
        folder: where what is fetched is put.

    Raises:
        ValueError: it is none of these, there is none, it is too large, or its sha256 is not what the index says.
        InfraError: no index can be reached.
    """
    if spec.endswith((".tar.gz", ".zip")):
        path = Path(spec)
        if not path.is_file():
            raise ValueError(f"{spec} is no file; allowed: a source distribution NAME-VERSION.tar.gz or .zip")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{spec} has {path.stat().st_size} bytes; allowed: {LARGEST}")
        return _sdist(path, hashlib.sha256(path.read_bytes()).hexdigest(), "")
    try:
        wanted = Requirement(spec)
    except InvalidRequirement:
        wanted = None
    if wanted is None or wanted.url or wanted.marker or wanted.extras:
        raise ValueError(f"package is {spec!r}; allowed: NAME, NAME==VERSION, or a file NAME-VERSION.tar.gz or .zip")
    link, certificates = _find(wanted)
    try:
        data = _fetch(link.url, LARGEST, certificates)[0]
    except FileNotFoundError:
        raise InfraError(f"the package index names {plain(link.url)} but does not have it") from None
    found = hashlib.sha256(data).hexdigest()
    if link.sha256 and found != link.sha256.lower():
        raise ValueError(
            f"{link.filename} has the sha256 {found}; its index says {link.sha256}: it was changed on its way"
        )
    path = folder / os.path.basename(link.filename)
    path.write_bytes(data)
    return _sdist(path, found, plain(link.url))


def _sdist(path: Path, sha256: str, url: str) -> Sdist:
    try:
        name, version = parse_sdist_filename(path.name)
    except InvalidSdistFilename:
        raise ValueError(
            f"{path.name} is no name of a source distribution; allowed: NAME-VERSION.tar.gz or .zip"
        ) from None
    return Sdist(name, str(version), path, sha256, url)


# -- the metadata ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class About:
    """What a source distribution says of itself in PKG-INFO."""

    licence: str
    requires: tuple[str, ...]
    """Distributions that it needs here, without extras."""


def about(tree: Path) -> About:
    """Reads ``PKG-INFO``; nothing is known of a tree without.

    Raises:
        ValueError: it wants another Python.
    """
    from email.parser import HeaderParser

    file = tree / "PKG-INFO"
    said = HeaderParser().parsestr(file.read_text("utf-8", "replace") if file.is_file() else "")
    try:
        if PYTHON not in SpecifierSet(said.get("Requires-Python") or "", prereleases=True):
            raise ValueError(f"it is for Python {said['Requires-Python']}, and this is {PYTHON}")
    except InvalidSpecifier:
        pass
    return About(_licence(said), tuple(_required(said.get_all("Requires-Dist") or [])))


def _licence(said: Any) -> str:
    """An SPDX expression, a short name, or classifiers: the first that is there."""
    words = (said.get("License-Expression") or said.get("License") or "").strip()
    known = [c.split(" :: ")[-1] for c in said.get_all("Classifier") or [] if c.startswith("License :: ")]
    if words and len(words) < 60 and words.lower() not in ("unknown", "none"):
        return " ".join(words.split())
    return " AND ".join(sorted(k for k in known if k != "OSI Approved")) or "not stated: see its files"


def requirement(text: str) -> str:
    """What a build wants, as pip takes it: a distribution that an index has.

    Raises:
        ValueError: it is a URL, a path, an option or nothing that is understood.
    """
    try:
        need = Requirement(text)
    except InvalidRequirement:
        need = None
    if need is None or need.url:
        raise ValueError(f"it wants {text[:80]!r} for its build; allowed: names with versions, no URL, path or option")
    return str(need)


def _required(rows: list[str]) -> Iterator[str]:
    for row in rows:
        try:
            need = Requirement(row)
        except InvalidRequirement:
            continue
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield canonical(need.name)
