"""Tournaments of a group (ArenaRL): brackets, ranks, counts."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.wrappers import MissingFact, Stack, Trajectory, load
from milepost.wrappers import conformance as C
from milepost.wrappers.group.arena import TournamentAdvantage, by_order, by_rank

pytestmark = pytest.mark.core
TOPOLOGIES = ("seeded_single", "round_robin", "swiss", "anchor", "double")
ALL = pytest.mark.parametrize("topology", TOPOLOGIES)


def group(quality, steps=1, **meta):
    out = []
    for q in quality:
        infos = [{} for _ in range(steps + 1)]
        infos[-1]["quality"] = q
        out.append(Trajectory([0] * (steps + 1), [0] * steps, np.zeros(steps), True, False, infos, {"task": 0} | meta))
    return out


def judge(a, b):
    """Ten times the quality."""
    return 10 * a.infos[-1]["quality"], 10 * b.infos[-1]["quality"]


def play(quality, seed=0, **settings):
    """(advantages, the layer)"""
    stack = Stack([TournamentAdvantage(**({"compare": judge} | settings))], seed)
    return np.array([t.advantages[0] for t in stack.run(group(quality))]), stack.shapers[0]


# -- golden --------------------------------------------------------------------------------------------
def test_the_cards_tournament():
    a, m = play([0.9, 0.5, 0.7, 0.1])
    assert a == pytest.approx([1.1619, -0.3873, 0.3873, -1.1619], abs=1e-4)
    pairs = [(i, j) for i, j, _, _ in m.matches]
    assert pairs == [(1, 0), (2, 0), (3, 0), (0, 3), (2, 1), (0, 2)]  # anchor, then 0 beats 3, 2 beats 1, 0 beats 2
    assert [x for _, _, x, _ in m.matches[:3]] == pytest.approx([10, 14, 2]) and m.matches[0][3] == pytest.approx(18)
    assert m.stats() == {"groups": 1, "comparisons": 6, "judge calls": 12, "failed calls": 0}
    r, _ = play([0.9, 0.5, 0.7, 0.1], normalize="rank")
    assert r == pytest.approx([1, 1 / 3, 2 / 3, 0])


def test_sixteen_in_thirty_comparisons():
    q = np.random.default_rng(3).permutation(16) / 15
    a, m = play(q.tolist())
    assert m.stats()["comparisons"] == 30 and m.stats()["judge calls"] == 60 and a.argmax() == q.argmax()
    _, m = play(q.tolist(), bidirectional=False)
    assert m.stats()["comparisons"] == m.stats()["judge calls"] == 30


def test_the_other_topologies_by_hand():
    # anchor: 1 has 10, 3 and 2 have 14 and 2 of theirs; the second and the third are equal: ranks 2, 0, 0, 3 -> (3 - rank) / 3
    r, m = play([0.5, 0.7, 0.7, 0.1], topology="anchor", normalize="rank")
    assert r == pytest.approx([1 / 3, 1, 1, 0]) and m.stats()["comparisons"] == 3
    # round robin: wins 1, 2.5, 2.5, 0, the same ranks
    r, m = play([0.5, 0.7, 0.7, 0.1], topology="round_robin", normalize="rank")
    assert r == pytest.approx([1 / 3, 1, 1, 0]) and m.stats()["comparisons"] == 6
    # another anchor: 3 with scores 2 of its own meets everybody
    _, m = play([0.5, 0.7, 0.7, 0.1], topology="anchor", anchor=3)
    assert [(i, j) for i, j, *_ in m.matches] == [(0, 3), (1, 3), (2, 3)]
    assert by_order([2, 0, 1]) == pytest.approx([0.5, 0, 1]) and by_rank([3, 1, 3, 3]) == pytest.approx([1, 0, 1, 1])
    assert by_rank([2, 2]) == pytest.approx([0, 0])


def test_swiss_by_hand():
    # four of qualities 4 to 1: two rounds; whoever is paired, 4 wins twice and 1 loses twice; 3 and 2 have one point each, and
    # whom they met decides: Buchholz of 3 is 2 + 1 or 2 + 0 or (met 2 and 1 first ...), so only the ends are sure
    for seed in range(8):
        r, m = play([0.4, 0.3, 0.2, 0.1], seed, topology="swiss", normalize="rank")
        assert r[0] == 1 and r[3] == 0 and r[1:3].sum() == pytest.approx(1) and m.stats()["comparisons"] == 4
        met = [frozenset(x[:2]) for x in m.matches]
        assert len(set(met)) == 4  # nobody meets twice
        points, opponents = np.zeros(4), [[] for _ in range(4)]
        for i, j, x, y in m.matches:
            points[i if x > y else j] += 1
            opponents[i].append(j)
            opponents[j].append(i)
        row = [(points[i], points[opponents[i]].sum()) for i in range(4)]
        assert (r[1] > r[2]) == (row[1] > row[2]) and (r[1] == r[2]) == (row[1] == row[2])
    # three: the bye is a point; the best has two
    r, _ = play([0.1, 0.9, 0.5], topology="swiss", normalize="rank")
    assert r.argmax() == 1


def test_brackets_with_byes_and_the_codes():
    # six of falling quality: seeds as they stand; the bracket 1-8 4-5 2-7 3-6 gives free rounds to seeds 1 and 2
    _, m = play([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    first = [(i, j) for i, j, *_ in m.matches[5:]]
    assert first == [(3, 4), (2, 5), (0, 3), (1, 2), (0, 1)] and m.stats()["comparisons"] == 10
    # the code drops 7 and 8 and pairs who is next: 1-4 5-2 3-6; then of three the last is free and comes first
    _, m = play([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], byes="code")
    assert [(i, j) for i, j, *_ in m.matches[5:]] == [(0, 3), (4, 1), (2, 5), (0, 1), (2, 0)]
    assert m.stats()["comparisons"] == 10


# -- properties ----------------------------------------------------------------------------------------
qualities = st.lists(st.integers(0, 1000), min_size=2, max_size=9, unique=True)


@ALL
@given(quality=qualities, seed=st.integers(0, 9))
def test_the_best_is_first_with_a_judge_who_knows(topology, quality, seed):
    a, m = play([q / 1000 for q in quality], seed, topology=topology)
    n = len(quality)
    assert a.argmax() == np.argmax(quality) and a.mean() == pytest.approx(0, abs=1e-9)
    assert a.std(ddof=1) == pytest.approx(1, abs=1e-4) or topology == "swiss"
    count = m.stats()["comparisons"]
    wanted = {"anchor": n - 1, "round_robin": n * (n - 1) // 2, "seeded_single": 2 * (n - 1)}
    assert count == wanted.get(topology, count)
    if topology == "double":
        assert count == 2 * (n - 1)  # all but one lose twice: n - 1 above, n - 2 below, and the last match
    if topology == "swiss":
        assert count == (n // 2) * math.ceil(math.log2(n))
    if topology in ("round_robin", "anchor"):
        assert (np.argsort(a) == np.argsort(quality)).all()  # the whole order
    r, _ = play([q / 1000 for q in quality], seed, topology=topology, normalize="rank")
    assert r.sum() == pytest.approx(n / 2)


@ALL
@given(quality=qualities, scale=st.floats(0.5, 4), shift=st.floats(-5, 5))
def test_ranks_do_not_depend_on_the_judges_scale(topology, quality, scale, shift):
    def other(a, b):
        return tuple(scale * x + shift for x in (a.infos[-1]["quality"], b.infos[-1]["quality"]))

    assert play(quality, topology=topology)[0] == pytest.approx(play(quality, topology=topology, compare=other)[0])


@ALL
def test_a_judge_of_places_decides_nothing(topology):
    a, m = play([0.1, 0.2, 0.3, 0.4, 0.5], topology=topology, compare=lambda a, b: (7.0, 3.0))
    assert not a.any() and all(x == y for _, _, x, y in m.matches)
    biased, _ = play([0.1, 0.2, 0.3, 0.4, 0.5], topology=topology, compare=lambda a, b: (7.0, 3.0), bidirectional=False)
    assert biased.any()
    if topology in ("seeded_single", "double"):  # what the code does then: the order of the group, or the draw
        assert play([0.5] * 4, topology=topology, undecided="seed")[0].any()


def test_undecided_groups_of_the_code():
    # the bracket is 1-4, 2-3; the losers 4 and 3 have equal points and stand as they lost
    assert play([0.5] * 4, undecided="seed", normalize="rank")[0] == pytest.approx([1, 2 / 3, 0, 1 / 3])


@ALL
def test_failures_are_ties_and_counted(topology):
    said = iter([None, (math.nan, 1.0), (None, 2.0)] + [(5.0, 5.0)] * 99)
    _, m = play([0.1, 0.2, 0.3], topology=topology, compare=lambda a, b: next(said))
    assert m.stats()["failed calls"] == 3
    assert all((x, y) == (10.0, 10.0) for _, _, x, y in m.matches)  # 5 for both, in both orders


@ALL
def test_groups_of_one_none_and_empty_episodes(topology):
    stack = Stack([TournamentAdvantage(topology=topology)])
    assert stack.run([]) == [] and stack.run(group([0.5], 2))[0].advantages.tolist() == [0, 0]
    (a, b) = stack.run([*group([0.5], 0), *group([0.7], 2)])
    assert a.advantages.shape == (0,) and b.advantages.shape == (2,)


def test_each_task_has_its_own_tournament_and_the_return_is_the_default():
    stack = Stack([TournamentAdvantage(normalize="rank")])
    batch = []
    for task, r in (("p", 1.0), ("q", 5.0), ("p", 2.0), ("q", 4.0)):
        batch.append(Trajectory([0, 0], [0], np.array([r]), True, False, [{}, {}], {"task": task}))
    assert [t.advantages[0] for t in stack.run(batch)] == [0, 1, 1, 0]
    keyed = Stack([TournamentAdvantage(key="quality")])
    assert keyed.run(group([0.1, 0.4]))[1].advantages[0] > 0
    with pytest.raises(MissingFact, match=r"tournament_advantage reads info\['score'\]"):
        Stack([TournamentAdvantage(key="score")]).run(group([0.1, 0.4]))


@ALL
def test_the_draw_is_the_layers_own(topology):
    q = np.random.default_rng(0).permutation(11).tolist()
    runs = [play(q, seed, topology=topology)[1].matches for seed in (0, 0, 1)]
    assert runs[0] == runs[1] and (runs[0] == runs[2]) == (topology not in ("swiss", "double"))


# -- conformance, settings -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "shaper",
    [
        TournamentAdvantage(),
        TournamentAdvantage(key="score", topology="swiss", over="agents"),
        TournamentAdvantage(topology="double", bidirectional=False, normalize="rank"),
    ],
    ids=lambda s: type(s).__name__,
)
def test_conformance(shaper):
    C.check_shaper(shaper)
    assert load(json.loads(json.dumps(shaper.spec()))) == shaper


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TournamentAdvantage(anchor=-1), "anchor = -1"),
        (lambda: TournamentAdvantage(rounds=0), "rounds = 0"),
        (lambda: TournamentAdvantage(failed_score=math.inf), "setting 'failed_score' is inf"),
        (lambda: TournamentAdvantage(topology="ladder"), "setting 'topology' is 'ladder'"),
        (lambda: Stack([TournamentAdvantage(compare=3)]), "compare is 3"),
        (lambda: play([0.1, 0.2], anchor=2), "anchor = 2, but the group has 2 episodes"),
        (
            lambda: load({"shaper": "milepost.wrappers.group.arena:TournamentAdvantage", "topolgy": 1}),
            "mean 'topology'",
        ),
    ],
)
def test_wrong_settings_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()
