"""Games for several agents in suites and on the command line."""

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
pytest.importorskip("sb3_contrib", reason="the extra sb3 is not installed")
import torch

from milepost.__main__ import main
from milepost.cli import bench as bench_module
from milepost.cli.game_report import game_tables
from milepost.cli.games import is_game
from milepost.cli.run import run
from milepost.cli.suite import load_suite
from milepost.wrappers import shaper

pytestmark = pytest.mark.multiagent


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


SUITE = """
[suite]
steps = 120
eval_every = 60
eval_episodes = 4
seeds = 1
timeout = 250
"""
ENV = '[[env]]\nid = "toys:Bids"\nname = "bids"\n'
TRAINER = '[[agent]]\nname = "{}"\nsettings = {{ n_steps = 32, batch_size = 16, copies = 2 }}\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the toy games in a module; what a call allows is forgotten afterwards."""
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    shutil.copy(Path(__file__).with_name("toy_games.py"), tmp_path / "toys.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "toys", raising=False)
    allowed = {*shaper._allowed}
    yield tmp_path
    shaper._allowed.intersection_update(allowed)


def test_a_player_that_breaks_loses_its_column_and_not_the_run(place, capsys):
    (place / "suite.toml").write_text(SUITE + ENV + 'cross = ["toys:Falls", "random"]\n' + TRAINER.format("shared_ppo"))
    assert main(["bench", "suite.toml", "--allow-import", "toys", "--out", "out"]) == 0
    (row,) = json.loads((place / "out" / "results.json").read_text())["results"]
    assert row["status"] == "ok" and row["cross"]["toys:Falls"] == {"failed": "RuntimeError: the player fell"}
    assert row["cross"]["random"]["score"] >= 0.0
    assert "failed: RuntimeError: the player fell" in "\n".join(game_tables([row]))


def test_ids_of_games_are_told_from_those_of_single_agents():
    yes = (
        "milepost/negotiation-encoded-v0",
        "milepost/negotiation-v0",
        "mpe2.simple_spread_v3:parallel_env",
        "toys:Bids",
    )
    no = (
        "milepost/Quest-easy-v0",
        "CartPole-v1",
        "milepost:milepost/Quest-easy-v0",
        "evil:X-v0",
        "Bids",
        "milepost/nego-v0",
    )
    assert all(map(is_game, yes)) and not any(map(is_game, no))


def test_a_suite_with_a_game_has_its_rows_measures_cross_play_and_league(place, capsys):
    (place / "suite.toml").write_text(
        SUITE + ENV + 'cross = ["random"]\n' + TRAINER.format("selfplay_ppo") + '[[agent]]\nname = "script:high"\n'
    )
    assert main(["bench", "suite.toml", "--allow-import", "toys", "--jobs", "2"]) == 0
    folder = place / "runs" / "suite"
    learnt, high = json.loads((folder / "results.json").read_text())["results"]
    assert [p["steps"] for p in learnt["curve"]] == [0, 60, 120] and learnt["steps_taken"] >= 120
    assert [p["steps"] for p in high["curve"]] == [0] and high["status"] == "ok"
    last = high["curve"][-1]
    assert last["env_return"] == 3.0 and last["measures"] == {"bids": 1.0} and last["success"] == 0.0
    assert last["agents"]["toy_0"] == {"env_return": 1.5, "length": 3.0, "success": 0.0}
    assert high["cross"]["random"]["score"] == 1.0 and "league" not in high
    assert learnt["league"]["names"][0] == "0 steps" and len(learnt["league"]["elo"]) == len(learnt["league"]["names"])
    assert {"milepost", "torch", "numpy"} <= learnt["versions"].keys()
    table, out = (folder / "table.md").read_text(), capsys.readouterr().out
    assert "Note: bids: toys:Bids has no test split: the score is on games of other seeds." in table
    assert (
        "| script:high | sparse | 3.00 [3.00, 3.00] | " in table
        and "| bids | script:high | sparse | random | " in table
    )
    assert (
        "| bids | selfplay_ppo | sparse | 0 | " in table
        and "| bids | script:high | sparse | 0.00 [0.00, 0.00] |" in out
    )
    assert (folder / "games.png").read_bytes().startswith(b"\x89PNG")


def test_stacks_collectors_and_seats_reach_the_run(place):
    layer = "milepost.wrappers.step.difference.DifferenceReward()"
    collect = "counterfactual(replay=\\'copy\\', default=0)".replace("\\", "")
    text = SUITE + ENV + 'agents = ["toy_0"]\nopponents = "random"\n' + TRAINER.format("shared_ppo")
    text += f'[[stack]]\nname = "plain"\n[[stack]]\nname = "without"\nshape = "{layer}"\ncollect = "{collect}"\n'
    (place / "suite.toml").write_text(text)
    sys.path.insert(0, str(place))
    suite = load_suite("suite.toml", ("toys",))
    plain, without = suite.runs
    assert "collect" not in plain["stack"] and without["stack"]["collect"]["replay"] == "copy"
    results = [run(s) for s in (plain, without)]
    for r in results:
        assert r["curve"][-1]["env_return"] == r["curve"][-1]["agents"]["toy_0"]["env_return"]
    shown = results[1]["train"]
    # the team's reward is always 1, so whatever one did, without it the team would have had as much
    assert (
        shown["reward_terms/difference_reward"] == pytest.approx(-shown["env_return"]) and shown["shaped_return"] == 0.0
    )
    assert len(game_tables(results)) == 2 and "| shared_ppo | without | " in game_tables(results)[1]


def test_stacks_and_agents_are_for_the_environments_that_they_name(place):
    quest = '[[env]]\nid = "milepost/Quest-easy-v0"\nname = "quest"\n'
    agents = '[[agent]]\nname = "random"\n[[agent]]\nname = "script:high"\nenvs = ["bids"]\n'
    agents += '[[agent]]\nname = "oracle"\nenvs = ["quest"]\n'
    stacks = '[[stack]]\nname = "plain"\n[[stack]]\nname = "progress"\nshape = "score_delta"\nenvs = ["quest"]\n'
    (place / "suite.toml").write_text(SUITE + ENV + quest + agents + stacks)
    sys.path.insert(0, str(place))
    runs = load_suite("suite.toml", ("toys",)).runs
    assert [(r["env"]["name"], r["agent"]["name"], r["stack"]["name"]) for r in runs] == [
        ("bids", "random", "plain"),
        ("bids", "script:high", "plain"),
        ("quest", "random", "plain"),
        ("quest", "random", "progress"),
        ("quest", "oracle", "plain"),
        ("quest", "oracle", "progress"),
    ]
    assert all("envs" not in r[k] for r in runs for k in ("agent", "stack"))


def test_the_evidence_suite_of_games_is_well_formed(monkeypatch):
    pytest.importorskip("mpe2", reason="mpe2 is not installed")
    folder = Path(__file__).parent.parent / "benchmarks"
    if not folder.is_dir():
        pytest.skip("needs the whole checkout")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    allowed = {*shaper._allowed}
    try:
        suite = load_suite(folder / "multiagent_learns.toml", ("mpe2", "multiagent_parts"))
    finally:
        shaper._allowed.intersection_update(allowed)
    arms = {(r["env"]["name"], r["stack"]["name"]) for r in suite.runs}
    assert {n: sum(e == n for e, _ in arms) for n, _ in arms} == {"harvest": 4, "spread": 5, "negotiation": 2}
    assert len(suite.runs) == 5 * len(arms)


WRONG = {
    "an unknown agent": (ENV + '[[agent]]\nname = "shared_pp"\n', "'shared_pp'; did you mean 'shared_ppo'?"),
    "an agent for one": (ENV + '[[agent]]\nname = "ppo"\n', "no agent of games is called 'ppo'"),
    "a game's agent for one": ('[[env]]\nid = "CartPole-v1"\n[[agent]]\nname = "shared_ppo"\n', "CartPole-v1 is for one"),
    "an unknown script": (ENV + '[[agent]]\nname = "script:low"\n', "has no script 'low'"),
    "an agent's setting": (ENV + TRAINER.format("shared_ppo").replace("copies", "copy"), "has no setting 'copy'"),
    "a game that would import": ('[[env]]\nid = "evil:Game"\n', "'evil:Game' would import 'evil'"),
    "no such game": ('[[env]]\nid = "toys:Bid"\n', "toys has no 'Bid'; did you mean 'Bids'?"),
    "no game at all": ('[[env]]\nid = "toys:gym"\n', "toys:gym: "),
    "an unknown setting": ('[[env]]\nid = "milepost/negotiation-v0"\nsettings = { partie = 2 }\n', "did you mean 'parties'"),
    "the split": ('[[env]]\nid = "milepost/negotiation-v0"\nsettings = { split = "train" }\n', "allowed: no split here"),
    "an unknown seat": (ENV + 'agents = ["toy_9"]\n', "bids: agents: the game has no agent 'toy_9'"),
    "nobody's seat": (ENV + 'agents = ["toy_1"]\n', "nobody plays toy_0: name them in agents, or give opponents"),
    "an opponent in a judged seat": (ENV + 'agents = ["toy_1"]\nopponents = { toy_1 = "random" }\n', "that is judged"),
    "an unknown opponent": (ENV + 'agents = ["toy_1"]\nopponents = "randm"\n', "did you mean 'random'?"),
    "an unknown cross player": (ENV + 'cross = ["randm"]\n', "bids: no player is called 'randm'"),
    "an environment that is not there": (ENV + '[[stack]]\nname = "a"\nenvs = ["bid"]\n', "'bid'; did you mean 'bids'?"),
    "seats of one": ('[[env]]\nid = "CartPole-v1"\nagents = ["a"]\n', "'agents' is for games of several agents"),
    "an unknown collector": (ENV + '[[stack]]\nname = "a"\ncollect = "counterfact()"\n', "did you mean 'counterfactual'?"),
    "a collector's setting": (ENV + '[[stack]]\nname = "a"\ncollect = "counterfactual(cheap=1)"\n', "stack 'a' on bids: "),
    "code in a collector": (ENV + '[[stack]]\nname = "a"\ncollect = "counterfactual(default=print())"\n', "collect is written"),
    "a missing file": (ENV + '[[agent]]\nname = "team.pt"\n', "there is no file team.pt"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_game_in_a_suite_is_said_before_any_run(place, capsys, monkeypatch, what):
    text, said = WRONG[what]
    if "[[agent]]" not in text:
        text += '[[agent]]\nname = "random"\n'
    (place / "suite.toml").write_text(text)
    monkeypatch.setattr(bench_module, "_start", lambda *a: pytest.fail("a run was started"))
    assert main(["bench", "suite.toml", "--allow-import", "toys"]) == 2
    out = capsys.readouterr()
    assert said in out.err and out.err.count("\n") == 1 and not out.out


def test_a_rollout_beyond_several_evaluations_leaves_none_of_them_out(place):
    """Curves of several seeds are compared at the steps that all have: each has all of the suite's."""
    text = (SUITE + ENV + TRAINER.format("shared_ppo")).replace("eval_every = 60", "eval_every = 20")
    (place / "suite.toml").write_text(text.replace("n_steps = 32", "n_steps = 64"))
    assert main(["bench", "suite.toml", "--allow-import", "toys", "--jobs", "1"]) == 0
    (row,) = json.loads((place / "runs/suite/results.json").read_text())["results"]
    assert [p["steps"] for p in row["curve"]] == [0, 20, 40, 60, 80, 100, 120]
    taken = [p["taken"] for p in row["curve"]]
    assert taken[1] == taken[3] >= 64 and taken[-1] >= 120  # one rollout, three evaluations
    assert row["curve"][1]["env_return"] == row["curve"][3]["env_return"]


def test_train_and_eval_know_games(place, capsys):
    settings = ["--agent-set", "n_steps=32", "batch_size=16", "copies=2", "--allow-import", "toys"]
    argv = ["train", "toys:Bids", "--agent", "shared_ppo", "--eval-every", "60", "--eval-episodes", "4", *settings]
    sys.path.insert(0, str(place))
    assert main([*argv, "--steps", "60"]) == 0 and main([*argv, "--steps", "120", "--resume"]) == 0
    assert main(["eval", "runs/train", "--episodes", "5", "--allow-import", "toys"]) == 0
    out = capsys.readouterr().out
    assert "toys:Bids, 5 episodes without shaping:" in out and "return 3.000  length 3.0" in out and "bids 0." in out
    assert [p["steps"] for p in json.loads((place / "runs/train/run.json").read_text())["curve"]] == [0, 60, 120]
    assert main(["train", "toys:Bids", "--agent", "text", "--allow-import", "toys"]) == 2
    assert "does not learn a game of several agents" in capsys.readouterr().err
