"""The benchmarks run; their figures are for the reader, never a test."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.cli.bench import finished
from milepost.cli.suite import load_suite

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the whole checkout", allow_module_level=True)


def module(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_overhead_table_has_every_contender_and_a_verdict_a_target():
    command = [sys.executable, BENCHMARKS / "shaping_overhead.py", "--quick", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    bench = module("shaping_overhead")
    assert done.returncode in (0, 1), done.stderr
    assert all(f"| {name} |" in done.stdout for name in (*bench.SINGLE, *bench.MANY))
    assert sum(line.startswith(("pass: ", "FAIL: ")) for line in done.stdout.splitlines()) == 4


def test_the_methods_table_has_every_method_and_a_verdict_a_target(tmp_path):
    from milepost.wrappers.shaper import catalog

    command = [sys.executable, BENCHMARKS / "methods_cost.py", "--repeats", "1", "--out", tmp_path / "cost.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    said = json.loads((tmp_path / "cost.json").read_text())
    assert sorted(said["methods"]) == sorted(catalog())
    assert all(f"| {name} |" in done.stdout for name in catalog())
    online = {n for n, r in said["methods"].items() if r["online"] is not None}
    assert {"krc", "sweet_spot"} <= online and not online & {"grpo", "tree_advantage"}
    assert (
        sum(line.endswith(("| met |", "| MISSED |")) for line in done.stdout.splitlines()) == len(said["targets"]) == 13
    )
    assert said["targets"][-1]["met"]  # a count of comparisons, no time


def test_the_evidence_suite_is_well_formed_and_its_budget_is_stated():
    pytest.importorskip("textworld", reason="the extra textworld is not installed")
    from milepost.cli.suite import load_suite
    from milepost.wrappers import allow_import

    sys.path.insert(0, str(BENCHMARKS))
    try:
        allow_import("hackable")
        suite = load_suite(BENCHMARKS / "shaping_helps.toml", ("hackable",))
    finally:
        sys.path.remove(str(BENCHMARKS))
    runs = [(r["env"]["name"], r["stack"]["name"]) for r in suite.runs]
    assert {n: sum(r[0] == n for r in runs) for n, _ in runs} == {
        "Quest-easy": 70,
        "Quest-medium": 70,
        "TextWorld custom": 35,
    }
    assert len({s for _, s in runs}) == 7


def test_the_gpu_script_compares_losses_and_refuses_without_a_device():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    bench = module("gpu_rates")
    gap, loss = bench.loss_gap("cpu", {"dim": 8, "hidden": 8}, steps=64)
    assert gap == 0.0 and loss != 0.0
    if not torch.cuda.is_available():
        done = subprocess.run([sys.executable, BENCHMARKS / "gpu_rates.py"], capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout.startswith("no cuda device: nothing was run")


def test_the_loss_on_cuda_is_the_loss_on_the_cpu():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no cuda device")
    bench = module("gpu_rates")
    assert bench.loss_gap("cuda", {})[0] <= bench.TOLERANCE


def test_the_arms_of_the_judge_suite_differ_only_in_who_judges():
    tomllib = pytest.importorskip("tomllib")  # the suite's own environment is in no installation that has torch here
    from milepost.cli.names import parse_shape

    suite = tomllib.loads((BENCHMARKS / "calm_minihack.toml").read_text())
    layers = {s["name"]: parse_shape(s["shape"]) for s in suite["stack"]}
    judged = [x for (x,) in (v for v in layers.values() if v) if "judge" in x]
    assert [x.pop("judge")["scorer"] for x in judged] == ["minilm", "smollm2"]
    assert judged[0] == judged[1]
    assert layers["sub-goals, truth"][0]["beta"] == judged[0]["beta"]


def test_the_warm_judge_benchmark_runs(tmp_path):
    out = tmp_path / "rows.json"
    command = [sys.executable, BENCHMARKS / "judge_overhead.py", "--env", "quest", "--rounds", "1", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hit rate 1.0000" in done.stdout and out.exists()


def test_what_judges_cost_is_summed_over_the_runs_of_an_arm():
    publish = module("publish")
    run = {"env": {"name": "E"}, "stack": {"name": "S"}, "seconds": 10.0}
    counts = {"asked": 100, "hits": 90, "calls": 10, "silent": 1, "seconds": 0.5}
    judged = run | {"stats": {f"subgoal_options/judge/{k}": v for k, v in counts.items()}}
    table = publish.costs([judged, judged, run | {"stats": {}}])
    assert table.splitlines()[-1] == "| E | S | 200 | 20 | 0.9000 | 2 | 50.0 | 1.0 | 5.0% |"
    assert publish.costs([run | {"stats": {}}]) == ""


def test_the_quality_table_has_a_row_a_balanced_sample():
    publish = module("publish")
    row = {"env": "minihack", "view": "crop", "judge": "J", "f1": 0.5, "precision": float("nan"), "recall": 1.0}
    row |= {"accuracy": 0.25, "auc": 0.75, "calibration_error": 0.125}
    table = publish.quality([row | {"sample": "balanced"}, row | {"sample": "natural", "f1": 0.1}])
    assert table.splitlines()[-1] == "| minihack | crop | J | 0.500 | - | 1.000 | 0.250 | 0.750 | 0.125 | 0.100 |"


def test_an_interrupted_suite_is_published_and_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    publish, published = module("publish"), BENCHMARKS.parent / "docs" / "results" / "tools_ppo.json"
    results = json.loads(published.read_text())["results"]
    folder = tmp_path / "tools_ppo"
    assert publish.unpack(published, folder) == len(results) == len(list((folder / "runs").iterdir()))
    next((folder / "runs").glob("*oracle*")).unlink()
    suite = load_suite(BENCHMARKS / "tools_ppo.toml")
    assert sum(finished(s, folder) is not None for s in suite.runs) == len(suite.runs) - 1 == len(results) - 1
    (tmp_path / "evidence.md").write_text("<!-- tools_ppo -->\n<!-- /tools_ppo -->\n")
    publish.publish(folder, 0.5, False, tmp_path)
    data = json.loads((tmp_path / "results" / "tools_ppo.json").read_text())
    assert data["suite"] == "tools_ppo" and len(data["results"]) == len(results) - 1
    assert "| ppo |" in (tmp_path / "evidence.md").read_text()
    assert (tmp_path / "results" / "tools_ppo.png").stat().st_size > 1000


def test_the_zoo_has_a_row_or_a_reason_for_every_method(monkeypatch):
    from milepost.wrappers.shaper import catalog

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    zoo, suite = module("zoo_table"), load_suite(BENCHMARKS / "method_zoo.toml", ("zoo_parts",))
    arms = {r["stack"]["name"]: r["stack"]["layers"] for r in suite.runs}
    firsts = {bare for file, _, bare, *_ in zoo.SOURCES if file == "method_zoo"}
    for name, layers in arms.items():  # an arm is called as the method in it
        assert name in firsts if not layers else name in {m["shaper"] for m in layers}, name
    elsewhere = {m for *_, names in zoo.SOURCES if names for m in names}
    assert (set(arms) - firsts) | elsewhere | set(zoo.LEFT) == set(catalog())
    assert not (set(arms) | elsewhere) & set(zoo.LEFT)
    assert {(r["env"]["name"], r["seed"]) for r in suite.runs} == {
        (r["env"]["name"], s) for r in suite.runs for s in range(5)
    }


def test_a_row_of_the_zoo_says_what_its_runs_were(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    zoo = module("zoo_table")

    def rows(*curves):
        return [
            {"steps": 200, "curve": [{"steps": 100.0 * k, "success": x, "env_return": 2 * x} for k, x in enumerate(c)]}
            for c in curves
        ]

    first, better = rows((0.0, 0.0, 0.0), (0.0, 0.0, 0.9)), rows((0.0, 0.8, 1.0), (0.0, 1.0, 1.0))
    assert zoo.cells(first, first, [])[:2] == ["> 0k (1/2)", "-"]
    steps, ratio, success, hacked, resists = zoo.cells(better, first, first)
    assert steps == "0k (2/2)" and ratio.startswith("2.0 [") and success == "1.00 [1.00, 1.00]"
    assert hacked == "0.90" and resists.startswith("0.45 [")
