"""The scores of a judge, the samples that it is scored on, and the command that prints them."""

import json
import time

import gymnasium as gym
import numpy as np
import pytest

import milepost  # noqa: F401
from milepost.__main__ import main
from milepost.baselines.judge_eval import Case, auc, balanced, calibration_error, cases, score, warm
from milepost.wrappers.scorers import Question, Reply, serve


class Says:
    """Gives the probability that stands in the action."""

    kinds = ("question",)
    identity = {"scorer": "says"}

    def reply(self, batch):
        return [None if q.action == "silent" else Reply(json.dumps({"g": float(q.action)})) for q in batch]

    def read(self, raw, query):
        return query.parse(raw)


def case(said, truth, k):
    return Case(Question(("g",), "", "", said, str(k), ""), frozenset(["g"] if truth else []), "g" if truth else "none")


def test_the_cards_example_of_the_metrics():
    # classic card 1: TP 20, FP 5, FN 4, TN 21
    rows = [("1", True)] * 20 + [("1", False)] * 5 + [("0", True)] * 4 + [("0", False)] * 21
    got = score(serve(Says()), [case(s, t, k) for k, (s, t) in enumerate(rows)])
    assert (got.tp, got.fp, got.fn, got.tn) == (20, 5, 4, 21)
    assert got.accuracy == pytest.approx(0.82)
    assert got.precision == pytest.approx(0.8)
    assert got.recall == pytest.approx(0.833333, abs=1e-6)
    assert got.f1 == pytest.approx(0.816327, abs=1e-6)


def test_calibration_by_hand():
    # bins: 0.9 said twice, true once -> gap 0.4, weight 2/4; 0.1 said twice, never true -> gap 0.1, weight 2/4
    p, y = np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0])
    assert calibration_error(p, y) == pytest.approx(0.25)
    got = score(serve(Says()), [case(str(a), b, k) for k, (a, b) in enumerate(zip(p, y))])
    assert got.brier == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert got.calibration_error == pytest.approx(0.25)


def test_area_under_the_curve_by_hand():
    # pairs (yes, no): (.8, .5) right, (.8, .8) tie, (.4, .5) wrong, (.4, .8) wrong: 1.5 of 4
    assert auc(np.array([0.8, 0.4, 0.5, 0.8]), np.array([1, 1, 0, 0])) == pytest.approx(0.375)
    assert np.isnan(auc(np.array([0.5]), np.array([1])))


def test_what_is_not_said_counts_as_not_detected():
    got = score(serve(Says()), [case("silent", True, 0), case("silent", False, 1)])
    assert (got.fn, got.tn, got.silent) == (1, 1, 2)
    assert np.isnan(got.precision) and got.recall == 0.0


def test_a_balanced_sample_has_as_many_of_each_kind():
    pool = [case("0", k < 10, k) for k in range(100)]
    got = balanced(pool, 16, 0)
    assert sum(bool(c.truth) for c in got) == 8
    assert sum(bool(c.truth) for c in balanced(pool, 60, 0)) == 10  # as far as there are that many
    assert got == balanced(pool, 16, 0) != balanced(pool, 16, 1)


def test_the_truth_of_a_case_is_what_became_true_in_it():
    env = gym.make("milepost/Quest-medium-v0", split="test")
    got = cases(env, 300, 0)
    env.close()
    assert len(got) == 300
    assert {c.kind for c in got} > {"none", "take", "open"}
    for c in got:
        assert c.truth <= set(c.question.subgoals)
        if c.kind == "take":
            assert c.question.action.startswith("take ")
    assert got == cases(gym.make("milepost/Quest-medium-v0", split="test"), 300, 0)


def test_sub_goals_that_the_environment_has_not_are_refused():
    with pytest.raises(ValueError, match="none of the sub-goals"):
        cases(gym.make("milepost/Quest-easy-v0"), 5, 0, subgoals=["fly"])


def test_the_command_prints_a_row_a_sample_and_writes_them(tmp_path, capsys):
    out = tmp_path / "rows.json"
    pattern = "patterns={'take the bell': 'You take the bell'}"
    code = main(["judge-eval", "predicate", "--env", "quest", "-n", "40", "--judge-set", pattern, "--out", str(out)])
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["judge", "environment", "sample", "n"]
    assert [x.split()[2] for x in lines[1:]] == ["balanced", "natural"]
    rows = json.loads(out.read_text())["rows"]
    assert {r["sample"] for r in rows} == {"balanced", "natural"}
    assert all(r["n"] == 40 and r["judge_stats"]["asked"] == 40 for r in rows)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["oracel"], "no scorer is called 'oracel'"),
        (["predicate", "--env", "quests"], "did you mean 'quest'"),
        (["predicate", "--env", "quest", "--sample", "balancd"], "did you mean 'balanced'"),
        (["predicate", "--env", "quest", "--judge-set", "patern=1"], "did you mean 'patterns'"),
        (["predicate", "--env", "quest", "--view", "crop"], "info['crop']"),
        (["predicate", "--env", "quest", "--judge-set", "threshold=abc"], "no setting 'threshold'"),
        (["minilm", "--env", "quest", "--judge-set", "threshold=abc"], "threshold is 'abc'; allowed: a number"),
        (["predicate", "--judge-set", "mode=frozen", "cache=/no/such/file"], "no cache of answers at /no/such/file"),
    ],
)
def test_what_is_not_understood_is_named(args, words, capsys):
    assert main(["judge-eval", *args, "-n", "2"]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_a_judge_that_is_not_there_has_no_score_and_rows_before_it_are_kept(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("milepost.wrappers.scorers.http.time.sleep", lambda seconds: None)
    with server(lambda body, n: "") as (closed, _):
        pass
    out = tmp_path / "rows.json"
    command = ["judge-eval", "predicate", f"openai:m@{closed}", "--env", "quest", "-n", "4", "--sample", "natural"]
    assert main([*command, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert f"the endpoint {closed} cannot be reached" in told.err and told.err.count("\n") == 1
    assert len(told.out.splitlines()) == 2  # the head and the one that answers
    assert [r["judge"] for r in json.loads(out.read_text())["rows"]] == ["predicate"]


def test_loading_a_model_is_in_no_timing_and_in_no_count(tmp_path):
    class Slow(Says):
        loaded = False

        def reply(self, batch):
            time.sleep(0 if self.loaded else 0.5)
            self.loaded = True
            return super().reply(
                [q for q in batch if q.action] + [q._replace(action="silent") for q in batch if not q.action]
            )

    judge = serve({"scorer": Slow(), "cache": str(tmp_path / "a")})
    warm(judge)
    assert judge.model.loaded and judge.stats["asked"] == 0 and len(judge._cache) == 0
    score(judge, [case("1", True, k) for k in range(4)])
    assert judge.stats["calls"] == 4 and judge.stats["seconds"] < 0.5
    spent = serve({"scorer": Slow(), "max_calls": 0})
    warm(spent)
    frozen = serve({"scorer": Slow(), "cache": str(tmp_path / "a"), "mode": "frozen"})
    warm(frozen)
    assert not spent.model.loaded and not frozen.model.loaded


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        pytest.param("textworld", ["--set", "worlds=1"], marks=pytest.mark.textworld),
        pytest.param("minihack", [], marks=pytest.mark.minihack),
    ],
)
def test_the_command_on_the_other_families(family, settings, tmp_path, capsys):
    pytest.importorskip(family, reason=f"the extra {family} is not installed")
    out = tmp_path / "rows.json"
    assert main(["judge-eval", "predicate", "--env", family, "-n", "5", "--out", str(out), *settings]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [r["sample"] for r in rows] == ["balanced", "natural"] and {r["env"] for r in rows} == {family}
    assert all(r["n"] == 5 == r["judge_stats"]["asked"] for r in rows)
    assert rows[0]["tp"] + rows[0]["fn"] > 0  # something became true in the sample
    if family == "minihack":  # its patterns are KeyRoom's
        assert all(r["accuracy"] == 1.0 and r["silent"] == 0 for r in rows)


def test_scorers_are_listed_and_explained(capsys):
    from milepost.wrappers.scorers import SCORERS

    assert main(["list", "--kind", "scorer"]) == 0
    listed = capsys.readouterr().out
    for name in SCORERS:
        assert f"scorer  {name} " in listed
        assert main(["info", name]) == 0
        said = capsys.readouterr().out
        assert "Settings:" in said and "max_calls" in said
