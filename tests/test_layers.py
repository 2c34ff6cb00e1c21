"""Which folder may import which, over the syntax trees; and what `import milepost` may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = {"torch", "pettingzoo", "minari", "textworld", "PIL", "matplotlib", "tqdm", "tomli", "stable_baselines3"}
EXTRAS |= {"sb3_contrib", "tensorboard", "nle", "minihack", "transformers", "gguf", "pyarrow", "swebench"}
EXTRAS |= {
    "pydantic",
    "typing_extensions",
    "mcp",
    "httpx2",
    "anyio",
    "bm25s",
    "reasoning_gym",
    "rstr",
    "bfcl_eval",
    "mpmath",
    "mpe2",
    "nltk",
    "pyspiel",
    "shimmy",
    "textarena",
}
ALLOWED = {  # folder: what its files may import at the top, besides the standard library and themselves
    "sandboxes": set(),
    "wrappers": {"numpy", "gymnasium"},
    "envs": {"numpy", "gymnasium", "sandboxes", "wrappers"},
    "baselines": {"numpy", "gymnasium", "envs", "wrappers"},
}
OWN_FILE = {  # files, and folders, that exist for one optional package
    "wrappers/games/base.py": {"pettingzoo"},
    "wrappers/games/lanes.py": {"pettingzoo"},
    "wrappers/games/sb3.py": {"stable_baselines3"},
    "wrappers/collect/counterfactual.py": {"pettingzoo"},
    "wrappers/episode/lare_torch.py": {"torch"},
    "wrappers/episode/istar_torch.py": {"torch"},
    "wrappers/models/network_torch.py": {"torch"},
    "wrappers/hosts/parallel.py": {"pettingzoo"},
    "wrappers/hosts/aec.py": {"pettingzoo"},
    "wrappers/episode/spa_torch.py": {"torch"},
    "wrappers/scorers/llama.py": {"torch"},
    "envs/text/textworld_machine.py": {"textworld", "jericho"},
    "envs/text/textworld_games.py": {"textworld"},
    "envs/text/textworld_logic.py": {"textworld"},
    "envs/text/textworld_plan.py": {"textworld"},
    "envs/swe/harbor.py": {"tomli"},
    "envs/tools/servicedesk/tools.py": {"pydantic"},
    "envs/tools/mcp_client.py": {"mcp", "httpx2"},
    "envs/tools/mcp_stdio.py": {"mcp", "anyio"},
    "envs/tools/mcp_server.py": {"mcp", "pydantic"},
    "envs/multiagent/hosts.py": {"pettingzoo"},
    "envs/multiagent/adapters/": {"pettingzoo"},
    "envs/multiagent/adapters/openspiel.py": {"pyspiel", "shimmy"},
    "envs/swe/package.py": {"packaging"},
    "envs/swe/inside/milepost_lines.py": {"pytest"},
    "baselines/text_agent.py": {"torch"},
    "baselines/checkpoint.py": {"torch"},
    "baselines/sb3.py": {"torch", "stable_baselines3", "sb3_contrib"},
    "baselines/credit.py": {"torch", "stable_baselines3"},
    "baselines/games/": {"torch", "stable_baselines3"},
}


def imports(path, tree, top_only):
    """(name, line) of each imported top-level module; a relative import gives the folder that it reaches."""
    inside = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for n in ast.walk(f)
    }
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            for a in node.names:
                yield a.name.split(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ("milepost", *here)[: len(here) + 1 - node.level]
                full = (*base, *(node.module or "").split("."))
                yield full[1] if len(full) > 1 and full[1] else node.names[0].name, node.lineno
            else:
                yield (node.module or "").split(".")[0], node.lineno


def files(folder):
    # modules/ holds what the agent repairs: data, never imported
    return sorted(p for p in (ROOT / folder).rglob("*.py") if not {"__pycache__", "modules"} & set(p.parts))


@pytest.mark.parametrize("folder", ALLOWED)
def test_the_arrows_between_folders(folder):
    wrong = []
    for path in files(folder):
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text())
        own = set().union(*(v for k, v in OWN_FILE.items() if name == k or (k.endswith("/") and name.startswith(k))))
        ok = ALLOWED[folder] | own | {folder, "__future__"} | set(sys.stdlib_module_names)
        wrong += [f"{name}:{line} {m}" for m, line in imports(path, tree, True) if m not in ok]
        ok |= EXTRAS | {"sandboxes"} | {"jericho"}
        wrong += [f"{name}:{line} {m} (in a function)" for m, line in imports(path, tree, False) if m not in ok]
    assert not wrong, "\n".join(wrong)


def test_a_method_imports_no_stack_no_host_and_no_other_method():
    wrong = []
    for folder in ("step", "episode", "group"):
        for path in files(f"wrappers/{folder}"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level:
                    module = node.module or ""
                    own = path.stem.split("_")[0]  # a method may be split over files of its own name
                    if node.level == 2 and module.split(".")[0] not in (
                        "types",
                        "shaper",
                        "maths",
                        "scorers",
                        "models",
                    ):
                        wrong.append(f"{path.name}:{node.lineno} ..{module}")
                    if node.level == 1 and not module.startswith(own):
                        wrong.append(f"{path.name}:{node.lineno} .{module}")
    assert not wrong, "\n".join(wrong)


def test_only_the_command_line_imports_baselines():
    assert "from .baselines" not in (ROOT / "milepost" / "__init__.py").read_text()
    for path in [*files("wrappers"), *files("envs"), *files("sandboxes")]:
        found = {m for m, _ in imports(path, ast.parse(path.read_text()), False)}
        assert "baselines" not in found and "tests" not in found and "milepost" not in found, path


@pytest.mark.core
def test_importing_milepost_is_light():
    code = (
        "import sys, time, gymnasium, numpy\n"
        "t = time.process_time(); import milepost; print(time.process_time() - t)\n"  # a busy machine is no fault
        "print([m for m in ('torch', 'docker', 'textworld', 'pettingzoo', 'minari', 'matplotlib', 'PIL', 'nle', 'minihack') "
        "if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
        assert out[1] == "[]", out[1]
        seconds.append(float(out[0]))
    assert min(seconds) < 0.3


def test_importing_a_folder_under_another_name_is_refused():
    for folder in ("envs", "wrappers", "sandboxes", "baselines"):
        done = subprocess.run([sys.executable, "-c", f"import {folder}"], capture_output=True, text=True, cwd=ROOT)
        assert f"import this folder as milepost.{folder}" in done.stderr
