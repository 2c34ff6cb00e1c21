"""The command line with agents: collect into both formats and read back, train, go on, evaluate."""

import json
import sys

import gymnasium as gym
import numpy as np
import pytest

from milepost.__main__ import main
from milepost.cli.collect import columns, parse_out
from milepost.cli.names import UserError
from milepost.wrappers import PotentialShaping, ScoreDelta, Stack, SubgoalOptions, Trajectory, shape
from milepost.wrappers import shaper as shaper_module
from milepost.wrappers.hosts.jsonl import read_jsonl, write_jsonl
from milepost.wrappers.hosts.offline import relabel

QUEST = "milepost/Quest-easy-v0"
LAYERS = [[PotentialShaping(key="progress")], [ScoreDelta()], [SubgoalOptions(beta=0.1)]]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    allowed = {*shaper_module._allowed}
    yield tmp_path
    shaper_module._allowed.intersection_update(allowed)


def call(capsys, *argv):
    code = main([str(a) for a in argv])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out, said.err


def refused(capsys, *argv):
    code = main([str(a) for a in argv])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1, err
    return err


def online(layers, seeds, **settings):
    """Rewards that the stack pays the oracle online, an array an episode."""
    env, out = shape(gym.make(QUEST, **settings), layers), []
    for seed in seeds:
        env.reset(seed=seed)
        out.append([])
        done = False
        while not done:
            _, reward, terminated, truncated, _ = env.step(env.get_wrapper_attr("oracle")())
            out[-1].append(reward)
            done = terminated or truncated
    return out


# -- JSON lines ----------------------------------------------------------------------------------
@pytest.mark.smoke
def test_jsonl_has_a_default_place_and_reads_back_as_trajectories(place, capsys):
    out, _ = call(capsys, "collect", QUEST, "--episodes", "3", "--seed", "5", "--set", "max_steps=25")
    file = place / "runs/collect/milepost-Quest-easy-v0-oracle.jsonl"
    episodes = list(read_jsonl(file))
    steps = sum(map(len, episodes))
    assert out == f"3 episodes, {steps} steps, 3 solved: jsonl runs/collect/{file.name}\n"
    env = gym.make(QUEST, max_steps=25)
    for k, t in enumerate(episodes):
        obs, info = env.reset(seed=5 + k)
        assert t.meta["task"] == info["meta"]["task"] and t.meta["seed"] == 5 + k
        assert (t.meta["env"], t.meta["agent"], t.meta["settings"]) == (QUEST, "oracle", {"max_steps": 25})
        assert t.obs[0] == obs and t.infos[0] == info and t.terminated and not t.truncated
        for i, action in enumerate(t.actions):
            obs, reward, *_, info = env.step(action)
            assert (t.obs[i + 1], t.rewards[i], t.infos[i + 1]) == (obs, reward, info)
    for layers in LAYERS:
        paid = [list(t.rewards) for t in Stack(layers).run(episodes)]
        for got, expected in zip(paid, online(layers, range(5, 8), max_steps=25)):
            assert got == pytest.approx(expected)


@pytest.mark.smoke
def test_jsonl_keeps_arrays_and_the_account_of_a_stack(place, capsys):
    shaped = "potential_shaping(key='progress'), uniform"
    call(
        capsys,
        "collect",
        "milepost/Quest-easy-encoded-v0",
        "--episodes",
        "2",
        "--out",
        "jsonl:a/b.jsonl",
        "--shape",
        shaped,
    )
    t, _ = read_jsonl("a/b.jsonl")
    assert list(t.terms) == ["outcome", "potential_shaping", "uniform"]
    assert sum(t.terms.values()) == pytest.approx(t.rewards) and len(t.infos[-1]["credit"]) == len(t)
    assert t.obs[0]["observation"].dtype == np.float32 and t.obs[0]["action_mask"].dtype == np.int8
    assert t.obs[0] in gym.spaces.Dict(gym.make("milepost/Quest-easy-encoded-v0").observation_space.spaces)
    (new,) = Stack([ScoreDelta()]).run([t])
    write_jsonl("again.jsonl", [new])
    (back,) = read_jsonl("again.jsonl")
    assert back.terms.keys() == new.terms.keys() and np.array_equal(back.rewards, new.rewards)
    call(capsys, "collect", "FrozenLake-v1", "--agent", "random", "--episodes", "1", "--out", "lake.jsonl")
    (lake,) = read_jsonl("lake.jsonl")
    assert all(isinstance(o, int) for o in lake.obs) and list(lake.terms) == ["env"]


@pytest.mark.smoke
def test_a_file_that_breaks_off_names_its_line_and_an_interrupted_one_never_appears(place):
    t = Trajectory(["a", "b"], [1], np.array([0.5]), True, False, [{}, {}], advantages=np.array([np.nan]))
    write_jsonl("x.jsonl", [t, t])
    assert [np.isnan(e.advantages[0]) for e in read_jsonl("x.jsonl")] == [True, True]
    whole = (place / "x.jsonl").read_text()
    for bad in (whole[:-9], whole + "3\n", whole + '{"rewards": [1]}\n', whole.replace('"b"', '"b", "c"')):
        (place / "bad.jsonl").write_text(bad)
        with pytest.raises(ValueError, match=r"line [123] of bad\.jsonl is no episode"):
            list(read_jsonl("bad.jsonl"))

    def breaks():
        yield t
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl("y.jsonl", breaks())
    assert not list(place.glob("y.*"))


# -- Minari --------------------------------------------------------------------------------------
@pytest.mark.parametrize("face", ["", "-encoded"])
def test_a_minari_set_carries_spec_spaces_and_the_facts_that_layers_read(place, capsys, face):
    minari = pytest.importorskip("minari")
    env_id = f"milepost/Quest-easy{face}-v0"
    out, err = call(capsys, "collect", env_id, "--episodes", "3", "--seed", "5", "--out", "minari")
    name = f"milepost/quest-easy{face}-v0/oracle-v0"
    assert out.endswith(f": minari {name}\n")
    assert err == "infos that a Minari data set cannot hold are left out: admissible_actions, message, messages, meta\n"
    data = minari.load_dataset(name)
    assert data.total_episodes == 3 and data.env_spec.id == env_id
    again = data.recover_environment()
    again.reset(seed=5)
    for i, e in enumerate(data):
        assert e.infos["progress"].shape == (len(e.rewards) + 1,) and e.infos["subgoals"]["1 take"].dtype == bool
        if not i:  # the recovered environment repeats the first episode
            assert [again.step(a)[1] for a in e.actions] == list(e.rewards)
    for layers in LAYERS:
        paid = [list(e.rewards) for e in relabel(data, Stack(layers))]
        for got, expected in zip(paid, online(layers, range(5, 8))):
            assert got == pytest.approx(expected)


def test_a_minari_set_of_a_stack_has_its_account_and_credit(place, capsys):
    minari = pytest.importorskip("minari")
    shaped = "potential_shaping(key='progress'), uniform"
    call(capsys, "collect", QUEST, "--episodes", "1", "--out", "minari:mine/shaped-v3", "--shape", shaped)
    data = minari.load_dataset("mine/shaped-v3")
    (e,) = data
    terms = e.infos["reward_terms"]
    assert sum(v[1:] for v in terms.values()) == pytest.approx(e.rewards) and "uniform" in terms
    assert e.infos["credit"][1:].sum() == pytest.approx(e.rewards.sum()) and np.ptp(e.infos["credit"][1:]) == 0
    assert [w.name for w in data.env_spec.additional_wrappers] == ["ShapedEnv"]
    err = refused(capsys, "collect", QUEST, "--out", "minari:mine/shaped-v3")
    assert "there is a Minari data set mine/shaped-v3 already" in err and "minari:mine/shaped-v4" in err


def test_a_minari_name_is_checked_before_anything_is_played(place, capsys, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setattr("milepost.cli.collect.one", lambda *a: pytest.fail("an episode was played"))
    for name in ("x y", "x/y-z", "../x-v0", "a/b-v0"):
        assert f"NAME/DATA-v0 (letters, digits, - and _; NAME at least two), not {name!r}" in refused(
            capsys, "collect", QUEST, "--out", f"minari:{name}"
        )
    monkeypatch.setitem(sys.modules, "minari.storage", None)
    assert "pip install 'milepost[minari]'" in refused(capsys, "collect", QUEST, "--out", "minari")


def test_infos_become_columns_or_are_named():
    infos = [
        {"p": 0.0, "t": "a"},
        {"p": 1, "t": "b", "r": {"x": 2.0}, "s": True},
        {"p": 2, "t": "c", "r": {"x": 3.0}, "late": 1},
    ]
    kept, left = columns(infos)
    assert kept["p"].tolist() == [0, 1, 2] and kept["r"]["x"].tolist() == [0, 2, 3] and kept.keys() == {"p", "r"}
    assert left == ["t", "s", "late"]
    arrays, left = columns(
        [
            {"a": np.zeros(2, np.int8), "b": np.zeros(2), "c/d": 1},
            {"a": np.ones(2, np.int8), "b": np.zeros(3), "c/d": 1},
        ]
    )
    assert arrays["a"].dtype == np.int8 and left == ["b", "c/d"]


# -- where to, and who ---------------------------------------------------------------------------
@pytest.mark.smoke
def test_out_is_a_format_with_or_without_a_place():
    assert parse_out("jsonl", QUEST, "m:F") == ("jsonl", "runs/collect/milepost-Quest-easy-v0-m-F.jsonl")
    assert parse_out("jsonl:x/y", QUEST, "oracle") == ("jsonl", "x/y")
    assert parse_out("x/y.jsonl", QUEST, "oracle") == ("jsonl", "x/y.jsonl")
    assert parse_out("minari", "CartPole-v1", "a/B.zip") == ("minari", "cartpole-v1/b-v0")
    assert parse_out("minari:n/x-v2", QUEST, "oracle") == ("minari", "n/x-v2")
    for wrong, said in (
        ("jsnl", "did you mean 'jsonl'?"),
        ("jsonl:", "Allowed is"),
        ("x.json", "Allowed is jsonl, jsonl:FILE"),
    ):
        with pytest.raises(UserError) as e:
            parse_out(wrong, QUEST, "oracle")
        assert said in str(e.value)


@pytest.mark.smoke
def test_collect_resets_a_strangers_agent_and_passes_its_settings(place, capsys):
    (place / "one_word.py").write_text(
        "class Says:\n    def __init__(self, word): self.word = word\n"
        "    def reset(self, seed=None): self.seed = seed\n"
        "    def act(self, obs, info): return f'{self.word} {self.seed}'\n"
    )
    argv = ["collect", QUEST, "--agent", "one_word:Says", "--episodes", "2", "--seed", "4", "--set", "max_steps=2"]
    assert "--allow-import one_word" in refused(capsys, *argv)
    call(capsys, *argv, "--allow-import", "one_word", "--agent-set", "word=hum", "--out", "x.jsonl")
    assert [t.actions for t in read_jsonl("x.jsonl")] == [("hum 4",) * 2, ("hum 5",) * 2]
    assert "word" in refused(capsys, *argv, "--allow-import", "one_word")  # a missing argument, in one sentence
    assert "has no oracle" in refused(capsys, "collect", "CartPole-v1")


# -- train and eval ------------------------------------------------------------------------------
BUDGET = ["--eval-every", "150", "--eval-episodes", "4"]


SMALL = {
    "text": ("agent.pt", ["lanes=4", "batch_steps=128"]),
    "maskable_ppo": ("agent.zip", ["n_steps=64", "batch_size=64"]),
    "archer": ("agent.bin", ["episodes=2"]),
    "parl": ("agent.bin", ["episodes=2"]),
    "barfi": ("agent.bin", ["blend={'shaper': 'term_blend', 'terms': ['potential_shaping']}"]),
}


@pytest.mark.parametrize("agent", SMALL)
def test_train_goes_on_where_it_stopped_and_eval_scores_the_checkpoint(place, capsys, agent):
    pytest.importorskip("torch" if agent == "text" else "sb3_contrib")
    file, small = SMALL[agent]
    argv = ["train", QUEST, "--agent", agent, "--shape", "potential_shaping(key='progress')", "--out", "r", *BUDGET]
    argv += ["--agent-set", *small]
    out, _ = call(capsys, *argv, "--steps", "300")
    assert [line.split()[0] for line in out.splitlines()[:-1]] == ["0", "150", "300"] and f"saved: r/{file}" in out
    first = json.loads((place / "r/run.json").read_text())
    assert first["status"] == "ok" and len(first["curve"]) == 3 and first["versions"]["torch"]
    assert f"{first['curve'][-1]['success']:.2f}" == out.splitlines()[2].split()[4]
    before = (place / "r" / file).read_bytes()

    call(capsys, *argv, "--steps", "600", "--resume")
    run = json.loads((place / "r/run.json").read_text())
    assert [p["steps"] for p in run["curve"]][-2:] == [450, 600] and run["curve"][:2] == first["curve"][:2]
    assert run["steps_taken"] >= 600 and (place / "r" / file).read_bytes() != before
    assert "--steps" in refused(capsys, *argv, "--steps", "600", "--resume")
    assert "was trained with stack" in refused(capsys, *argv, "--steps", "900", "--resume", "--shape", "uniform")

    scores = [call(capsys, "eval", where, "--episodes", "8")[0] for where in ("r", f"r/{file}")]
    assert scores[0] == scores[1] and "8 held-out episodes without shaping" in scores[0]
    success = float(scores[0].split("success ")[1].split()[0])
    assert 0 <= success <= 1 and f"return {success:.3f}" in scores[0]  # the environment's own return, which is success


def test_a_resumed_run_learns_in_the_shaped_environment(place, capsys, monkeypatch):
    pytest.importorskip("sb3_contrib")
    from milepost.baselines.sb3 import SB3Agent
    from milepost.wrappers.hosts import inner_stack

    argv = [
        "train",
        QUEST,
        "--agent",
        "ppo",
        "--shape",
        "score_delta",
        "--out",
        "r",
        "--agent-set",
        "n_steps=64",
        "batch_size=64",
        *BUDGET,
    ]
    call(capsys, *argv, "--steps", "150")
    seen = []
    learn = SB3Agent.learn
    monkeypatch.setattr(
        SB3Agent, "learn", lambda self, env, n: seen.append((env, self.given, self.steps)) or learn(self, env, n)
    )
    call(capsys, *argv, "--steps", "300", "--resume")
    assert seen and all(inner_stack(e).names == ["score_delta"] for row in seen for e in row[:2]) and seen[0][2] >= 150


STRANGER = """
import json
class Counts:
    def __init__(self, best="look"): self.best, self.seen = best, 0
    def act(self, obs, info): return info["admissible_actions"][0]
    def learn(self, env, steps): self.seen += steps
    def save(self, path): open(path, "w").write(json.dumps(self.seen))
    def load(self, path): self.seen = json.load(open(path))
class Forgets(Counts):
    save = load = property()
"""


GREEDY = """
import json
class Greedy:
    \"\"\"Learns from 64 steps at a time, and says how many that were.\"\"\"
    def __init__(self): self.steps = self.scored = 0
    def reset(self, seed=None): self.scored += 1
    def act(self, obs, info): return info["admissible_actions"][0]
    def learn(self, env, steps): self.steps += -(-steps // 64) * 64
    def save(self, path): open(path, "w").write(json.dumps(self.steps))
    def load(self, path): self.steps = json.load(open(path))
"""


def test_an_update_beyond_several_evaluations_leaves_none_of_them_out(place, capsys):
    (place / "greedy.py").write_text(GREEDY)
    argv = ["train", QUEST, "--agent", "greedy:Greedy", "--allow-import", "greedy", "--out", "r", "--eval-every", "20"]
    call(capsys, *argv, "--eval-episodes", "2", "--steps", "80")
    curve = json.loads((place / "r/run.json").read_text())["curve"]
    assert [(p["steps"], p["taken"]) for p in curve] == [(0, 0), (20, 64), (40, 64), (60, 64), (80, 128)]
    assert {k: v for k, v in curve[1].items() if k not in ("steps", "seconds")} == {
        k: v for k, v in curve[3].items() if k not in ("steps", "seconds")
    }
    call(capsys, *argv, "--eval-episodes", "2", "--steps", "140", "--resume")  # 100 and 120 were learned before
    curve = json.loads((place / "r/run.json").read_text())["curve"]
    assert [(p["steps"], p["taken"]) for p in curve][5:] == [(100, 128), (120, 128), (140, 192)]


def test_a_strangers_agent_is_trained_saved_resumed_and_scored(place, capsys):
    (place / "counting.py").write_text(STRANGER)
    argv = ["train", QUEST, "--agent", "counting:Counts", "--allow-import", "counting", "--out", "r", *BUDGET]
    call(capsys, *argv, "--steps", "150")
    assert (place / "r/agent.bin").read_text() == "150"
    call(capsys, "eval", "r", "--episodes", "2", "--allow-import", "counting")
    call(capsys, *argv, "--steps", "300", "--resume")
    assert (place / "r/agent.bin").read_text() == "300"  # 150 more, though it has no `steps` that say so
    argv[3] = "counting:Forgets"
    assert (
        "has no save(path): no checkpoint is kept"
        in call(capsys, *argv[:6], "--out", "f", *BUDGET, "--steps", "150")[1]
    )
    assert "there is no checkpoint f/agent.bin" in refused(capsys, "eval", "f")


def test_a_success_that_the_environment_does_not_say_is_a_dash_everywhere(place, capsys):
    pytest.importorskip("sb3_contrib")
    small = ["--agent", "ppo", "--agent-set", "n_steps=64", "batch_size=64", *BUDGET, "--out", "r"]
    out, _ = call(capsys, "train", "CartPole-v1", *small, "--steps", "150")
    assert all("success -  return " in line for line in out.splitlines()[:2])
    text = (place / "r/run.json").read_text()
    assert "NaN" not in text and [p["success"] for p in json.loads(text)["curve"]] == [None, None]
    assert "\nsuccess -  return " in call(capsys, "eval", "r", "--episodes", "2")[0]
    out, _ = call(capsys, "collect", "CartPole-v1", "--agent", "random", "--episodes", "2", "--out", "x.jsonl")
    assert out.startswith("2 episodes, ") and out.endswith(" steps: jsonl x.jsonl\n")


@pytest.mark.textworld
def test_a_game_that_is_trained_and_scored_on_is_said_once_and_never_called_held_out(place, capsys):
    pytest.importorskip("textworld")
    pytest.importorskip("matplotlib")
    from milepost.cli.suite import load_suite
    from milepost.envs.text.textworld_games import game_file

    game = game_file("coin_collector", {"level": 1}, 0, str(place / "games"))
    (place / "first.py").write_text(STRANGER)
    args = ["--allow-import", "first"]
    own = ["--set", f"game={game}", "--agent", "first:Counts", "--out", "r"]
    out, _ = call(capsys, "train", "milepost/TextWorld-v0", *own, *args, *BUDGET, "--steps", "150")
    said = "the score is on the very game that was trained on"
    assert out.splitlines()[0].endswith(said) and out.count(said) == 1 and "held-out" not in out
    out, _ = call(capsys, "eval", "r", *args, "--episodes", "2")
    assert out.count(said) == 1 and "held-out" not in out and "2 episodes without shaping" in out
    text = "[suite]\nsteps = 1\neval_every = 1\neval_episodes = 1\nseeds = 1\n[[env]]\nid = 'milepost/TextWorld-v0'\n"
    (place / "s.toml").write_text(
        f"{text}name = 'coins'\nsettings = {{ game = '{game}' }}\n[[agent]]\nname = 'random'\n"
    )
    assert len(load_suite("s.toml").notes) == 1
    out, _ = call(capsys, "bench", "s.toml", "--jobs", "1")
    assert out.count(said) == 1 and said in (place / "runs/suite/table.md").read_text()


def test_a_folder_is_made_only_when_there_is_something_to_write(place, capsys):
    (place / "file").write_text("")
    refused(capsys, "train", QUEST, "--agent", "oracle", "--steps", "10", "--out", "a/b")
    refused(capsys, "train", "CartPole-v1", "--agent", "text", "--steps", "10", "--out", "a/b")
    for out in ("file", "file/deeper"):
        err = refused(capsys, "train", QUEST, "--agent", "text", "--steps", "10", "--out", out)
        assert f"{out} is no folder to write to" in err and err.endswith("file is a file\n")
    assert [p.name for p in place.iterdir()] == ["file"]


def test_what_cannot_be_trained_or_evaluated_is_said(place, capsys):
    assert "the agent 'oracle' does not learn" in refused(capsys, "train", QUEST, "--agent", "oracle", "--steps", "10")
    assert "did you mean 'text'?" in refused(capsys, "train", QUEST, "--agent", "txt")
    assert "--eval-every is 20, allowed is 1 to --steps (10)" in refused(
        capsys, "train", QUEST, "--steps", "10", "--eval-every", "20"
    )
    assert "nothing to resume in runs/train: no run.json" in refused(capsys, "train", QUEST, "--resume")
    assert "nothing to evaluate in nowhere" in refused(capsys, "eval", "nowhere")
    (place / "run.json").write_text("[]")
    assert "its run.json is not what train writes" in refused(capsys, "eval", ".")


@pytest.mark.parametrize("agent", ["archer", "parl", "barfi"])
def test_trainers_of_single_rewards_refuse_layers_that_settle_later(place, capsys, agent):
    argv = ["train", QUEST, "--agent", agent, "--steps", "300", "--out", "r", *BUDGET]
    if agent == "barfi":
        assert "blend is missing" in refused(capsys, *argv)
        argv += ["--agent-set", SMALL[agent][1][0]]
    for layer in ("uniform", "utterance_critic", "term_blend(terms=['outcome']), progress_attribution"):
        said = refused(capsys, *argv, "--shape", layer)
        assert (
            f"{agent} learns from rewards as they are paid and cannot serve" in said and "use step layers only" in said
        )
    assert "archer, parl, barfi or your own" in refused(capsys, *argv[:3], "random", *argv[4:12])
    assert "has no setting 'seed'" in refused(capsys, *argv, "--agent-set", "seed=3")
