"""The command line: what there is, playing, stacks and settings in words, and one clear sentence for what is wrong."""

import io
import json
import math
import os
import subprocess
import sys

import gymnasium as gym
import pytest

from milepost.__main__ import main
from milepost.baselines.agent import AGENTS
from milepost.cli.names import EXTRAS, UserError, parse_settings, parse_shape
from milepost.envs.registry import entries, games
from milepost.wrappers.shaper import catalog

QUEST = "milepost/Quest-easy-v0"
smoke = pytest.mark.smoke


def run(capsys, *argv):
    """Exit code, standard output, standard error."""
    code = main(list(argv))
    said = capsys.readouterr()
    return code, said.out, said.err


def refused(capsys, *argv):
    """The one sentence of a call that is not understood."""
    code, _, err = run(capsys, *argv)
    assert code == 2 and err.startswith("milepost: ") and err.count("\n") == 1, err
    return err


def played(capsys, monkeypatch, text, *argv):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return run(capsys, "play", *argv)


# -- list, info, setup ---------------------------------------------------------------------------
@smoke
def test_list_has_a_line_for_everything_and_kind_picks(capsys):
    everything = run(capsys, "list")[1].splitlines()
    kinds = ("env", "game", "shaper", "agent", "scorer")
    parts = {kind: run(capsys, "list", "--kind", kind)[1].splitlines() for kind in kinds}
    assert everything == [line for part in parts.values() for line in part]
    assert [line.split()[1] for line in parts["env"]] == [e.id for e in entries()]
    assert [line.split()[1] for line in parts["game"]] == [g.id for g in games()]
    assert [line.split()[1] for line in parts["shaper"]] == sorted(catalog())
    names = [line.split()[1] for line in parts["agent"]]
    assert names[: len(AGENTS)] == list(AGENTS) and "openai:MODEL@http://HOST:PORT/v1" in names
    assert all(len(line.split()) > 3 for line in everything)  # each says what it is


@smoke
@pytest.mark.parametrize("name", [g.id for g in games()])
def test_info_of_a_game_has_its_description_and_settings(capsys, name):
    code, out, _ = run(capsys, "info", name)
    assert (
        code == 0 and out.startswith(name) and "## Rewards" in out and "max_cycles" in out and "pettingzoo.make" in out
    )


def test_a_person_plays_a_game(capsys, monkeypatch):
    pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
    monkeypatch.setattr("sys.stdin", io.StringIO("0\n99\n0\n"))
    code, out, _ = run(capsys, "play", "milepost/negotiation-v0", "--seed", "0")
    assert code == 0 and "there is no action 99" in out and "party_0 is done: success" in out
    monkeypatch.setattr("sys.stdin", io.StringIO("quit\n"))
    assert run(capsys, "play", "milepost/negotiation-v0")[1].rstrip().endswith("left")
    assert "shows numbers" in run(capsys, "play", "milepost/negotiation-encoded-v0")[2]


@smoke
@pytest.mark.parametrize("name", [e.id for e in entries()])
def test_info_of_an_environment_has_its_description_and_settings(capsys, name):
    code, out, _ = run(capsys, "info", name)
    assert code == 0 and out.startswith(name) and "## Rewards" in out and "max_steps" in out


@smoke
@pytest.mark.parametrize("name", sorted(catalog()))
def test_info_of_a_shaper_has_its_text_and_every_setting(capsys, name):
    code, out, _ = run(capsys, "info", name)
    settings = out.split("Settings:")[1]
    fields = [f for f in catalog()[name].__dataclass_fields__]
    assert code == 0 and all(f"  {f}: " in settings for f in fields) and len(out.split("Settings:")[0]) > 40


@smoke
def test_info_of_an_agent_and_of_an_environment_that_is_not_ours(capsys):
    for name, (_, what) in AGENTS.items():
        if name != "text":  # its settings need torch
            assert run(capsys, "info", name)[1] == f"{name}: {what}\n"
    out = run(capsys, "info", "FrozenLake-v1")[1]
    assert "Discrete(16)" in out and "Discrete(4)" in out and "max_episode_steps=100" in out


def test_info_of_the_text_agent_lists_its_hyper_parameters(capsys):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    assert "  gamma: float = 0.99" in run(capsys, "info", "text")[1]


@smoke
@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("milepost/Quest-esy-v0", "milepost/Quest-easy-v0"),
        ("potential_shapin", "potential_shaping"),
        ("orakel", "oracle"),
        ("FrozenLak-v1", "FrozenLake-v1"),
        ("Qest", "milepost/Quest-v0"),
        ("Quest-esy-encoded", "milepost/Quest-easy-encoded-v0"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(capsys, wrong, near):
    assert f"{wrong!r}; did you mean {near!r}?" in refused(capsys, "info", wrong)


def test_setup_says_what_is_there_and_what_to_install(capsys, monkeypatch):
    code, out, _ = run(capsys, "setup")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[: len(EXTRAS)]] == list(EXTRAS)
    monkeypatch.setitem(EXTRAS, "bench", (["no_such_package"], "nothing"))
    code, out, _ = run(capsys, "setup", "bench")
    assert code == 1 and "missing no_such_package" in out and "pip install 'milepost[bench]'" in out
    assert "did you mean 'minari'?" in refused(capsys, "setup", "mini")


@smoke
def test_both_ways_to_call_it_answer_alike():
    def call(*command):
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    module = call(sys.executable, "-m", "milepost", "list", "--kind", "shaper")
    script = call(os.path.join(os.path.dirname(sys.executable), "milepost"), "list", "--kind", "shaper")
    assert module.returncode == script.returncode == 0 and module.stdout == script.stdout != ""
    assert call(sys.executable, "-m", "milepost", "info", "nothing").returncode == 2


def test_a_reader_that_stops_reading_causes_no_traceback():
    command = f"{sys.executable} -m milepost list | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


@smoke
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["benhc"], "did you mean 'bench'?"),
        (["list", "--kind", "envs"], "did you mean 'env'?"),
        (["play", QUEST, "--seed", "-1"], "allowed is a whole number from 0"),
        (["collect", QUEST, "--episodes", "0"], "allowed is a whole number from 1"),
        (["collect", QUEST, "--format", "minari"], "unrecognized arguments: --format"),
    ],
)
def test_words_that_are_no_command_or_option_exit_with_2(capsys, argv, said):
    with pytest.raises(SystemExit) as e:
        main(argv)
    assert e.value.code == 2 and said in capsys.readouterr().err


# -- play ----------------------------------------------------------------------------------------
@smoke
def test_a_person_wins_an_episode_with_numbers_and_words(capsys, monkeypatch):
    env = gym.make(QUEST)
    obs, info = env.reset(seed=3)
    typed, done = [], False
    while not done:  # every other action by its number
        action = env.get_wrapper_attr("oracle")()
        typed.append(action if len(typed) % 2 else str(info["admissible_actions"].index(action)))
        obs, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
    shape = "potential_shaping(key='progress')"
    code, out, _ = played(capsys, monkeypatch, "\n".join(typed), QUEST, "--seed", "3", "--shape", shape)
    assert code == 0 and f"solved after {len(typed)} steps" in out and obs in out
    steps = [line for line in out.splitlines() if ": reward " in line]
    assert len(steps) == len(typed) and all("outcome +" in s and "potential_shaping " in s for s in steps)
    assert "outcome +1.000" in steps[-1] and "[0] " in out


@smoke
def test_what_is_no_action_costs_no_step_and_quit_leaves(capsys, monkeypatch):
    code, out, _ = played(capsys, monkeypatch, "\n99\n\nsing a song\nquit\nlook\n", QUEST)
    assert code == 0 and out.endswith("left\n") and out.count(": reward ") == 1
    assert "there is no action 99: 0 to " in out and "sing a song: reward +0.000" in out


@smoke
def test_the_end_of_the_input_leaves(capsys, monkeypatch):
    code, out, _ = played(capsys, monkeypatch, "look", QUEST)
    assert code == 0 and out.endswith("left\n") and "look: reward +0.000   (outcome +0.000)" in out


@smoke
def test_layers_that_settle_at_the_end_show_their_credit(capsys, monkeypatch):
    text = "look\n" * 4
    _, out, _ = played(capsys, monkeypatch, text, QUEST, "--set", "max_steps=4", "--shape", "uniform")
    assert "over after 4 steps, return +0.000" in out and "credit of the steps: +0.00 +0.00 +0.00 +0.00" in out


@smoke
def test_an_environment_without_text_is_drawn_and_played_with_whole_numbers(capsys, monkeypatch):
    way = "1 1 2 1 2 2".split()
    text = "down\n7\n" + "\n".join(way)
    _, out, _ = played(capsys, monkeypatch, text, "FrozenLake-v1", "--set", "is_slippery=False")
    assert out.count("an action is a whole number from 0 to 3") == len(way) + 2 and "SFFF" in out
    assert "1: reward +0.000   (env +0.000)" in out and "over after 6 steps, return +1.000" in out


@smoke
def test_a_box_of_actions_takes_a_list_within_its_bounds(capsys, monkeypatch):
    _, out, _ = played(capsys, monkeypatch, "[0.5]\n9\n__import__('os')\n0.25\n", "Pendulum-v1")
    assert out.count(": reward ") == 2 and out.count("a list like [0.0]") == 5


@smoke
def test_an_impossible_action_of_a_mask_is_asked_for_again(capsys, monkeypatch):
    _, out, _ = played(capsys, monkeypatch, "5\n", "Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3", "--seed", "1")
    assert "action 5 is not possible now; possible: " in out and ": reward " not in out


@smoke
def test_the_encoded_face_and_a_missing_fact_are_refused(capsys, monkeypatch):
    err = refused(capsys, "play", "milepost/Quest-easy-encoded-v0")
    assert err.endswith("play milepost/Quest-easy-v0\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    err = refused(capsys, "play", "FrozenLake-v1", "--shape", "potential_shaping(key='progress')")
    assert "info['progress']" in err and "facts=" in err


# -- ids and settings ----------------------------------------------------------------------------
@smoke
def test_an_environment_of_a_module_is_imported_only_if_allowed(capsys, monkeypatch, tmp_path):
    (tmp_path / "evil_envs.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "--allow-import evil_envs" in refused(capsys, "play", "evil_envs:Thing-v0")
    assert played(capsys, monkeypatch, "", f"milepost:{QUEST}")[0] == 0


@pytest.mark.tools
def test_a_task_files_command_is_started_only_if_allowed(capsys, monkeypatch, tmp_path):
    pytest.importorskip("mcp", reason="the extra tools is not installed")
    monkeypatch.setenv("MILEPOST_ALLOW_COMMAND", "")
    server = {"command": ["sh", "-c", "touch {here}/mark; exit 3"]}
    (tmp_path / "tasks.json").write_text(json.dumps(server | {"tasks": [{"id": "a", "question": "?", "answer": "1"}]}))
    argv = ["play", "milepost/MCP-v0", "--set", f"path={tmp_path / 'tasks.json'}"]
    assert "--allow-command" in refused(capsys, *argv)
    assert "--allow-command" in refused(capsys, *argv, "allow_command=True")
    assert not (tmp_path / "mark").exists()
    assert "code 3" in refused(capsys, *argv, "--allow-command") and (tmp_path / "mark").exists()


@smoke
def test_a_setting_that_is_not_allowed_is_named(capsys):
    assert "split is 'tset'; allowed: 'train', 'test'" in refused(capsys, "play", QUEST, "--set", "split=tset")
    assert "romms" in refused(capsys, "play", QUEST, "--set", "romms=3")
    assert "written key=value, not 'rooms'" in refused(capsys, "play", QUEST, "--set", "rooms")


@smoke
def test_settings_are_literals_or_text():
    pairs = ["a=4", "b=0.5", "c=test", "d=[1, 'x']", "e=True", "f=false", "g=", "h=1+1", "i=a=b"]
    assert parse_settings(pairs) == {
        "a": 4, "b": 0.5, "c": "test", "d": [1, "x"], "e": True, "f": False, "g": "", "h": "1+1", "i": "a=b"
    }  # fmt: skip
    with pytest.raises(UserError, match="key=value"):
        parse_settings(["1a=3"])


@smoke
def test_options_that_take_several_add_up(capsys, monkeypatch):
    argv = [QUEST, "--set", "max_steps=1", "--set", "rooms=2"]
    _, out, _ = played(capsys, monkeypatch, "look\n", *argv)
    assert "over after 1 steps" in out  # the first --set was not forgotten


# -- stacks in words -----------------------------------------------------------------------------
@smoke
def test_a_stack_is_names_with_literal_settings_and_layers_inside_layers():
    text = "subgoal_options(beta=0.5), gated_reward_accumulation, mix(parts=[clip(low=-inf, high=1), uniform])"
    assert parse_shape(text) == [
        {"shaper": "subgoal_options", "beta": 0.5},
        {"shaper": "gated_reward_accumulation"},
        {
            "shaper": "mix",
            "parts": [{"shaper": "clip", "low": -math.inf, "high": 1}, {"shaper": "uniform"}],
        },
    ]
    deep = parse_shape('focus(of="env", child=focus(of="env", child=scale(factor=2.0)))')
    assert deep[0]["child"]["child"] == {"shaper": "scale", "factor": 2.0}
    assert parse_shape("  ") == [] and parse_shape("uniform,\n  uniform") == [{"shaper": "uniform"}] * 2


@smoke
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unifrom", "did you mean 'uniform'?"),
        ("scale(facter=2)", "did you mean 'factor'?"),
        ("scale(factor='two')", "'factor'"),
        ("scale(2.0)", "has one without"),
        ("scale(**{})", "has none for one"),
        ("scale(factor=2.0", "not written as"),
        ("uniform], [uniform", "not written as"),
        ("uniform] + [uniform", "not written as"),
        ("potential_shaping(key=progress)", "A text stands in quotes: 'progress'"),
        ("clip(shaper='uniform')", "no layer has a setting 'shaper'"),
        ("clip(low=not inf)", "neither a literal nor a layer"),
        ("\0", "not written as"),
        ("uniform" + "(a=" * 300 + "1" + ")" * 300, "nested"),
    ],
)
def test_a_stack_that_is_not_understood_is_answered_in_a_sentence(text, said):
    with pytest.raises(UserError) as e:
        parse_shape(text)
    assert said in str(e.value)


@smoke
@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('{f}').touch()",
        "(lambda: open('{f}', 'w'))()",
        "scale(factor=open('{f}', 'w'))",
        "scale(factor=[open('{f}', 'w') for _ in [1]])",
        "scale(factor=(x := open('{f}', 'w')))",
        "[open('{f}', 'w')]",
        "clip if open('{f}', 'w') else scale",
        "*open('{f}', 'w')",
        "potential_shaping(key=f\"{{open('{f}', 'w')}}\")",
        "potential_shaping(phi='evil_layers:phi')",
        "evil_layers.Thing(a=1)",
        "mix(parts=[evil_layers.Thing])",
        "().__class__.Thing",
    ],
)
def test_a_stack_evaluates_and_imports_nothing(text, tmp_path, monkeypatch):
    made = tmp_path / "made"
    (tmp_path / "evil_layers.py").write_text(f"open({str(made)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        parse_shape(text.format(f=made))
    except UserError as e:
        assert "\n" not in str(e)
    else:  # a name that is looked up later is only a text until then
        assert "phi=" in text
    assert not made.exists() and "evil_layers" not in sys.modules
