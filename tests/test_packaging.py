"""Wheel, sdist, editable: whatever way it is installed, the same four folders stand under milepost."""

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("envs", "wrappers", "sandboxes", "baselines")
checkout = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="needs the whole checkout")


def run(*command, cwd=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@checkout
def test_a_checkout_without_links_says_so_in_one_sentence(tmp_path):
    (tmp_path / "milepost").mkdir()
    shutil.copy(ROOT / "milepost" / "__init__.py", tmp_path / "milepost")
    for folder in FOLDERS:  # what git writes where links are switched off
        (tmp_path / "milepost" / folder).write_text(f"../{folder}")
    done = subprocess.run([sys.executable, "-c", "import milepost"], capture_output=True, text=True, cwd=tmp_path)
    assert "this checkout has no symbolic links; install the wheel" in done.stderr.strip().splitlines()[-1]


@checkout
def test_nothing_names_a_machine_or_a_private_index():
    for path in ("Makefile", "pyproject.toml", ".ci/run", "README.md", "CONTRIBUTING.md"):
        text = (ROOT / path).read_text().replace("http://127.0.0.1", "")  # an example's own machine
        for word in ("/work/", "/opt/", "/root/", "index-url", "find-links", "http://"):
            assert word not in text, f"{path} names {word}"


@pytest.mark.full
@checkout
def test_wheel_and_sdist_hold_the_same_package(tmp_path):
    """``python -m build`` makes the wheel from the sdist; the second one comes from the tree itself."""
    run(sys.executable, "-m", "build", "-q", "--outdir", tmp_path / "a", ROOT)
    run(sys.executable, "-m", "build", "-q", "--wheel", "--outdir", tmp_path / "b", ROOT)
    (from_sdist,), (from_tree,) = (tmp_path / "a").glob("*.whl"), (tmp_path / "b").glob("*.whl")
    names = [sorted(zipfile.ZipFile(w).namelist()) for w in (from_sdist, from_tree)]
    assert names[0] == names[1]
    tops = {n.split("/")[0] for n in names[0]}
    assert len(tops) == 2 and "milepost" in tops  # the package and its metadata
    for folder in FOLDERS:
        files = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts}
        assert {f"milepost/{f}" for f in files} <= set(names[0])
    assert "milepost/py.typed" in names[0] and "milepost/cli/demo.toml" in names[0]
    (sdist,) = (tmp_path / "a").glob("*.tar.gz")
    inside = {n.split("/", 1)[1] for n in tarfile.open(sdist).getnames() if "/" in n}
    assert {"README.md", "LICENSE", "NOTICE", "tests/test_core.py", "docker/README.md"} <= inside

    bare = tmp_path / "venv"
    venv.create(bare, with_pip=True)
    run(bare / "bin" / "pip", "install", "-q", from_sdist)
    code = f"import milepost; print([getattr(milepost, f).__name__ for f in {FOLDERS}])"
    assert run(bare / "bin" / "python", "-c", code, cwd=tmp_path).strip() == str([f"milepost.{f}" for f in FOLDERS])
    assert "milepost/Quest-v0" in run(bare / "bin" / "milepost", "list", cwd=tmp_path)
    listed = run(bare / "bin" / "pip", "list", "--format=freeze")
    assert "gymnasium" in listed and "torch" not in listed and "textworld" not in listed


@pytest.mark.full
@checkout
def test_the_extra_all_can_be_resolved(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    said = run(tmp_path / "venv" / "bin" / "pip", "install", "--dry-run", f"{ROOT}[all]")
    for package in (
        "gymnasium",
        "numpy",
        "textworld",
        "torch",
        "stable",
        "pettingzoo",
        "minari",
        "matplotlib",
        "sphinx",
    ):
        assert package in said.lower().split("would install")[1]


@pytest.mark.full
@checkout
def test_pyright_sees_every_module():
    said = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--stats", cwd=ROOT)
    assert "0 errors" in said
    folders = [*FOLDERS, "milepost"]  # rglob does not walk into the links of milepost/
    files = [p for f in folders for p in (ROOT / f).rglob("*.py") if "__pycache__" not in p.parts]
    assert f"Total files checked: {len({p.resolve() for p in files})}\n" in said
