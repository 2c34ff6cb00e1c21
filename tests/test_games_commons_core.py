"""``commons``: the rules by hand (``commons_core.py``), and the tragedy in numbers (``commons_plans.py``)."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pettingzoo", reason="the extra multiagent is not installed")
from milepost.envs.multiagent import commons_v0
from milepost.envs.multiagent.commons_core import DOWN, LEFT, RIGHT, STAY, TOOL, UP, Core, Rules
from milepost.envs.multiagent.commons_maps import Layout, layout
from milepost.envs.multiagent.commons_plans import plan

_spec = importlib.util.spec_from_file_location("orchard", Path(__file__).with_name("orchard.py"))
orchard = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(orchard)
SIZE, drawn, squares = orchard.SIZE, orchard.drawn, orchard.squares
pytestmark = pytest.mark.multiagent


def places(core, s):
    """Row and column of each agent; None off the map."""
    return [(p // core.width - core.pad, p % core.width - core.pad) if p else None for p in s.pos[0].tolist()]


def apples(core, s):
    return set(map(tuple, np.argwhere(core.middle(s.apples)[0]).tolist()))


BLOCK = [(y, x) for y in (2, 3, 4) for x in (2, 3, 4)]  # nine apples


# -- the core, by hand ---------------------------------------------------------------------------
def test_an_apple_is_eaten_once_and_grows_back_among_many():
    # growth 10: p = min(1, 10 * 0.1) = 1 where more than 4 apples are within 2 squares. The middle (3, 3) of the block has 8.
    core, s = drawn([(3, 0), (7, 7)], BLOCK, growth=10.0)
    assert core.around(s)[0, 3, 3] == 8 and core.around(s)[0, 2, 2] == 5
    # (2, 2): itself not; (2, 3), (2, 4), (3, 2), (3, 3), (4, 2) are within 2; (3, 4) and (4, 3), at sqrt(5), are not
    got = [core.step(s, [[a, STAY]]).got[0, 0] for a in (RIGHT, RIGHT, RIGHT)]
    # (3, 1) is bare; then the apples of (3, 2) and (3, 3). (3, 2) grew back when it was left: at least 5 of the rest are near
    assert got == [False, True, True] and apples(core, s) == set(BLOCK) - {(3, 3)}
    assert not core.step(s, [[STAY, STAY]]).got.any() and (3, 3) not in apples(core, s)  # none grows under an agent
    core.step(s, [[UP, STAY]])  # to (2, 3), whose apple goes
    assert apples(core, s) == set(BLOCK) - {(2, 3)} and s.harvest.tolist() == [[3, 0]]


def test_what_is_taken_to_the_last_never_comes_back():
    core, s = drawn([(0, 0), (7, 7)], [(0, 1)], growth=10.0)
    assert core.step(s, [[RIGHT, STAY]]).got.tolist() == [[True, False]]
    for _ in range(300):
        core.step(s, [[LEFT, STAY]])
    assert not s.apples.any()


def test_the_chance_of_growth_is_that_of_the_table():
    # 1 apple near: 0.01 * 10; 3 near: 0.05 * 10; none near: 0. 20,000 maps; six standard deviations are below 0.022.
    core = Core(Rules(size=SIZE, players=2, growth=10.0))
    site, there = (
        squares((0, 0), (0, 1), (4, 4), (4, 3), (4, 5), (3, 4), (7, 0)),
        squares((0, 1), (4, 3), (4, 5), (3, 4)),
    )
    none, home = squares(), np.array([62, 63])
    s = core.begin([Layout(site, none, there, none, home, k * 7919, -1) for k in range(20_000)])
    core.step(s, np.full((20_000, 2), STAY))
    grown = core.middle(s.apples).mean(0)
    assert grown[0, 0] == pytest.approx(0.1, abs=0.022) and grown[4, 4] == pytest.approx(0.5, abs=0.022)
    assert grown[7, 0] == 0.0 and grown[0, 1] == 1.0


def test_two_who_want_a_square():
    # cycle 0 is agent 0's turn to be first, cycle 1 agent 1's
    for t, winner in ((0, 0), (1, 1), (2, 0)):
        core, s = drawn([(3, 2), (3, 4)])
        s.t = t
        core.step(s, [[RIGHT, LEFT]])
        assert places(core, s) == [(3, 3) if k == winner else at for k, at in enumerate([(3, 2), (3, 4)])]
    core, s = drawn([(3, 2), (3, 3)])
    core.step(s, [[RIGHT, LEFT]])  # nobody changes places
    assert places(core, s) == [(3, 2), (3, 3)]
    core.step(s, [[RIGHT, RIGHT]])  # a square is free when it was free at the beginning
    assert places(core, s) == [(3, 2), (3, 4)]
    core, s = drawn([(0, 0), (7, 7)])
    core.step(s, [[UP, RIGHT]])  # the map ends
    assert places(core, s) == [(0, 0), (7, 7)] and s.face.tolist() == [[UP, RIGHT]]


def test_a_beam_takes_the_first_off_the_map():
    core, s = drawn([(3, 1), (3, 3), (3, 4)], timeout=2, reach=3)
    core.step(s, [[RIGHT, STAY, STAY]])
    assert places(core, s) == [(3, 2), (3, 3), (3, 4)]
    core.step(s, [[LEFT, STAY, STAY]])
    core.step(s, [[RIGHT, STAY, STAY]])  # faces right at (3, 2)
    did = core.step(s, [[TOOL, DOWN, STAY]])  # agent 1 wanted to walk away: too late
    assert did.hit.tolist() == [[False, True, False]] and did.used.tolist() == [[True, False, False]]
    assert places(core, s) == [(3, 2), None, (3, 4)]
    seen = []
    for _ in range(2):
        core.step(s, [[STAY, UP, STAY]])  # who is off the map does nothing
        seen.append(places(core, s)[1])
    assert seen == [None, (3, 3)] and s.away.tolist() == [[0, 2, 0]]  # 2 cycles, then at home again
    assert core.outcomes(s)["peace"].tolist() == [3 - 2 / 6]
    # who comes back waits until its home is free
    core.step(s, [[TOOL, STAY, STAY]])
    core.step(s, [[RIGHT, STAY, STAY]])
    for _ in range(5):
        core.step(s, [[STAY, STAY, STAY]])
    assert places(core, s) == [(3, 3), None, (3, 4)]
    core.step(s, [[UP, STAY, STAY]])
    assert places(core, s) == [(2, 3), (3, 3), (3, 4)]


def test_a_beam_ends_at_the_edge_and_two_can_hit_each_other():
    core, s = drawn([(0, 1), (0, 2)])
    core.step(s, [[RIGHT, LEFT]])  # blocked, but they face each other
    assert core.step(s, [[TOOL, TOOL]]).hit.tolist() == [[True, True]] and places(core, s) == [None, None]
    core, s = drawn([(3, 7), (4, 0)])  # one square further in the array is the next row
    core.step(s, [[RIGHT, STAY]])
    assert not core.step(s, [[TOOL, STAY]]).hit.any()
    core, s = drawn([(3, 3), (3, 4)], timeout=0)
    core.step(s, [[RIGHT, STAY]])
    did = core.step(s, [[TOOL, STAY]])
    assert not did.hit.any() and not did.used.any()


def test_waste_stops_growth_and_cleaning_takes_nine_squares():
    river = [(0, x) for x in range(8)] + [(1, x) for x in range(8)]
    # 16 squares of river; 7 of them are 0.4375, 6 are 0.375
    core, s = drawn([(1, 1), (7, 7)], [(6, 0)], river, river[:8], kind="cleanup", pollution=0.0, growth=10.0)
    s.apples[:] = False
    for _ in range(50):
        core.step(s, [[STAY, STAY]])
    assert not s.apples.any() and core.dirt(s).tolist() == [0.5]
    did = core.step(s, [[TOOL, STAY]])  # (0, 0), (0, 1) and (0, 2); nothing else around has waste
    assert core.dirt(s).tolist() == [5 / 16] and did.used.tolist() == [[True, False]]
    for _ in range(100):
        core.step(s, [[STAY, STAY]])
    assert apples(core, s) == {(6, 0)}  # 0.05 * 10 * (1 - 0.3125 / 0.4) = 0.11 a cycle
    # as much waste as 10 squares a cycle: the river fills to 0.4, and no further
    core, s = drawn([(4, 4), (7, 7)], [(6, 0)], river, [], kind="cleanup", pollution=10.0)
    filled = [float(core.dirt(s)[0]) for _ in range(20) if core.step(s, [[STAY, STAY]])]
    assert filled[-1] >= 0.4 and filled[-1] == filled[-2]


def test_the_measures_of_perolat():
    core, s = drawn([(0, 0), (7, 7)])
    s.t, s.harvest[:], s.when[:], s.away[:] = 4, [[3, 1]], [[1 + 2 + 3, 4]], [[0, 2]]
    got = {k: float(v[0]) for k, v in core.outcomes(s).items()}
    # 4 apples in 4 cycles; 1 - (|3 - 1| + |1 - 3|) / (2 * 2 * 4); the mean of 2 and 4; 2 - 2 / 4
    assert got == {"efficiency": 1.0, "equality": 0.75, "sustainability": 3.0, "peace": 1.5}
    core, s = drawn([(0, 0), (7, 7)])
    assert core.outcomes(s)["equality"].tolist() == [1.0] and core.outcomes(s)["sustainability"].tolist() == [0.0]


@pytest.mark.parametrize("kind", ["harvest", "cleanup"])
def test_a_game_of_a_batch_is_the_same_alone(kind):
    core, rng = Core(Rules(kind=kind)), np.random.default_rng(0)
    maps = [layout(kind, 12, 4, task) for task in range(5)]
    many, alone, turned = core.begin(maps), core.begin(maps[3:4]), core.begin(maps[::-1])
    for _ in range(40):
        a = rng.integers(0, 6, (5, 4))
        core.step(many, a)
        core.step(alone, a[3:4])
        core.step(turned, a[::-1])
    for name, x in vars(many).items():
        if name != "t":
            assert np.array_equal(x[3:4], getattr(alone, name)) and np.array_equal(x[::-1], getattr(turned, name)), name
    assert many.harvest.sum() > 0 or kind == "cleanup"


@settings(max_examples=15)
@given(
    st.sampled_from(["harvest", "cleanup"]),
    st.integers(0, 2**30 - 1),
    st.integers(2, 16),
    st.integers(8, 20),
    st.data(),
)
def test_what_always_holds(kind, task, players, size, data):
    core = Core(Rules(kind=kind, players=players, size=size, view=data.draw(st.integers(3, 7))))
    s = core.begin([layout(kind, size, players, task)])
    rng = np.random.default_rng(task)
    for _ in range(15):
        before = s.copy()
        did = core.step(s, rng.integers(0, 6, (1, players)))
        here = s.pos[0] > 0
        at = s.pos[0][here]
        assert len(set(at.tolist())) == len(at) and not core.wall[at].any()
        assert np.array_equal(s.who[0][at], np.flatnonzero(here)) and (s.who >= 0).sum() == here.sum()
        assert not (s.apples & ~s.site).any() and not (s.waste & ~s.river).any() and not s.apples[0, at].any()
        assert np.array_equal(s.harvest - before.harvest, did.got) and did.got.sum() <= before.apples.sum()
        assert (s.out[0][here] == 0).all()


def test_the_core_refuses_what_is_no_action():
    core, s = drawn([(0, 0), (7, 7)])
    for wrong in ([[0, 6]], [[0, -1]], [0, 1], [[0.0, 1.0]]):
        with pytest.raises(ValueError, match=r"whole numbers 0 to 5 of shape .1, 2."):
            core.step(s, wrong)
    for setting, said in (
        ({"kind": "hunt"}, "kind is 'hunt'"),
        ({"players": 1}, "players is 1"),
        ({"size": 7}, "size is 7"),
        ({"view": 8}, "view is 8"),
        ({"timeout": -1}, "timeout is -1"),
        ({"reach": 4}, "reach is 4; allowed: a whole number from 1 to 3"),
        ({"growth": 0}, "growth is 0; allowed: a number over 0 to 10"),
        ({"growth": float("nan")}, "growth is nan"),
        ({"pollution": -1}, "pollution is -1; allowed: a number from 0 to 10"),
        ({"pollution": True}, "pollution is True"),
    ):
        with pytest.raises(ValueError, match=said):
            commons_v0.parallel_env(**setting)


# -- the tragedy ---------------------------------------------------------------------------------
def harvests(kind, policies, tasks=60, cycles=50):
    """(tasks, N) apples when agents play policies, one each."""
    core = Core(Rules(kind=kind, players=len(policies)))
    s = core.begin([layout(kind, 12, len(policies), t) for t in range(tasks)])
    for _ in range(cycles):
        plans = {p: plan(core, s, p, cycles) for p in set(policies)}
        core.step(s, np.stack([plans[p][:, k] for k, p in enumerate(policies)], 1))
    return s.harvest


def test_all_greedy_earn_less_than_all_oracle():
    lasting, greedy = harvests("harvest", ["oracle"] * 4), harvests("harvest", ["greedy"] * 4)
    assert lasting.sum(1).mean() > 1.5 * greedy.sum(1).mean()  # 118 and 70 over 1,000 tasks
    assert (lasting.sum(1) > greedy.sum(1)).all()
    one = harvests("harvest", ["greedy"] + ["oracle"] * 3)
    assert one[:, 0].mean() > one[:, 1:].mean()  # who takes more has more than those who do not
    many = harvests("harvest", ["greedy"] + ["oracle"] * 7)
    assert many[:, 0].mean() > harvests("harvest", ["oracle"] * 8).mean()  # and is tempted, where there are many


def test_who_does_not_clean_lives_on_those_who_do():
    lasting, greedy = harvests("cleanup", ["oracle"] * 4), harvests("cleanup", ["greedy"] * 4)
    assert greedy.sum() == 0 and lasting.sum(1).mean() > 30
    one = harvests("cleanup", ["greedy"] + ["oracle"] * 3)
    assert one[:, 0].mean() > lasting.mean() > one[:, 1:].mean()
