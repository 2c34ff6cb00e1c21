"""Maps of the commons that tests draw."""

import numpy as np

from milepost.envs.multiagent.commons_core import Core, Rules
from milepost.envs.multiagent.commons_maps import Layout

SIZE = 8


def squares(*places):
    out = np.zeros(SIZE * SIZE, bool)
    for y, x in places:
        out[y * SIZE + x] = True
    return out


def drawn(homes, apples=(), river=(), waste=(), key=7, side=-1, **rules):
    """A core and a state of a map that a test draws; apples stand where they can grow."""
    core = Core(Rules(size=SIZE, players=len(homes), **rules))
    at = np.array([y * SIZE + x for y, x in homes])
    one = Layout(squares(*apples), squares(*river), squares(*apples), squares(*waste), at, key, side)
    return core, core.begin([one])


def placed(env, homes, has, seed=0, **rules):
    """A game on a map that a test draws."""
    env.reset(seed=seed)
    game = env.game
    at = np.array([y * SIZE + x for y, x in homes])
    none = squares()
    game.world.state = game.core.begin([Layout(squares(*has), none, squares(*has), none, at, 7, -1)])
    game.world.cache, game.world.reference, game._seen = {}, (2,) * len(homes), {}
    return game
