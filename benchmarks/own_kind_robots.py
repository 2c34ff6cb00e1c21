"""SRPO and Robo-Dopamine on PointMaze, for ``benchmarks/own_kind.py``: what they say of scripted runs.

A ball with forces in two dimensions in the U-shaped maze of gymnasium-robotics (MuJoCo); one decision every five steps of the
simulator, 60 decisions at most, the environment's own sparse reward and end. The wrapper publishes the length of the way that
is left, from the map. No agent is trained, and no judge is a model: the hops are said by a function of the observations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np

from milepost.wrappers import HopProgress, SelfReferential, Stack, Trajectory
from milepost.wrappers.group.srpo import actions_taken
from milepost.wrappers.probes.reward_bench import pairwise_accuracy
from milepost.wrappers.probes.voc import both_ways, ranks
from milepost.wrappers.step.hop_judge import hop

REPEAT, DECISIONS = 5, 60
MAP = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]])  # UMaze's own
CELLS = [(int(r), int(c)) for r, c in zip(*np.nonzero(MAP == 0))]
TASKS = [((1, 1), (3, 1)), ((3, 1), (1, 2)), ((1, 2), (3, 2)), ((3, 2), (1, 1))]  # start and goal


def middle(cell: Sequence[int]) -> Any:
    """``(2,)`` metres."""
    return np.array([cell[1] - 2.0, 2.0 - cell[0]])


def cell_of(x: Any) -> tuple[int, int]:
    """The free cell that a point is in (nearest, for a ball that touches a wall)."""
    return min(CELLS, key=lambda c: float(np.abs(middle(c) - x).max()))


def path(a: tuple[int, int], b: tuple[int, int]) -> list[tuple[int, int]]:
    """Cells from ``a`` to ``b``, both included."""
    came: dict[tuple[int, int], Any] = {b: None}
    todo = deque([b])
    while todo:
        r, c = now = todo.popleft()
        for n in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if n in CELLS and n not in came:
                came[n] = now
                todo.append(n)
    out = [a]
    while out[-1] != b:
        out.append(came[out[-1]])
    return out


def way(x: Any, goal: Any) -> float:
    """Metres from a point to another through the middles of the cells' openings."""
    cells = path(cell_of(x), cell_of(goal))
    stops = [x, *((middle(p) + middle(q)) / 2 for p, q in pairwise(cells)), goal]
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(stops)))


LONGEST = way(middle((1, 1)), middle((3, 1)))


def objective(cell: Sequence[int]) -> str:
    """The task in words."""
    return f"Task: bring the ball to the cell in row {cell[0]}, column {cell[1]}."


class Maze(gym.Wrapper[Any, Any, Any, Any]):
    """Repeats actions and publishes the way that is left; ``options={"task": {"seed", "start", "goal"}}`` sets a task."""

    def _facts(self, obs: Any, info: dict[str, Any]) -> dict[str, Any]:
        left = way(obs["achieved_goal"], obs["desired_goal"])
        return {
            "success": bool(info["success"]),
            "way": left,
            "progress": 1.0 if info["success"] else min(max(1.0 - left / self._whole, 0.0), 1.0),
            "goal": {"achieved_goal": obs["desired_goal"]},
            "objective": self._objective,
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The task, from ``options``."""
        task = options["task"]
        cells = {"reset_cell": np.array(task["start"]), "goal_cell": np.array(task["goal"])}
        obs, info = self.env.reset(seed=task["seed"], options=cells)
        self._objective, self._whole = objective(task["goal"]), way(obs["achieved_goal"], obs["desired_goal"])
        return obs, self._facts(obs, info)

    def step(self, action: Any) -> Any:
        """One decision."""
        for _ in range(REPEAT):
            obs, reward, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                break
        return obs, float(reward), bool(terminated), bool(truncated), self._facts(obs, info)


def maze() -> Any:
    """The environment."""
    import gymnasium_robotics

    gym.register_envs(gymnasium_robotics)
    return Maze(gym.make("PointMaze_UMaze-v3", continuing_task=False, max_episode_steps=REPEAT * DECISIONS))


Policy = Callable[[Any, int, np.random.Generator], Any]


def towards(obs: Any, goal: Any) -> Any:
    """Force along the way to a point."""
    x = obs["achieved_goal"]
    cells = path(cell_of(x), cell_of(goal))
    target = middle(cells[1]) if len(cells) > 2 else goal
    return np.clip(10.0 * (target - x) - 1.5 * obs["observation"][2:], -1.0, 1.0)


def expert(noise: float) -> Policy:
    """Along the way, with noise on the force."""
    return lambda obs, t, rng: towards(obs, obs["desired_goal"]) + noise * rng.normal(size=2)


def at_random(obs: Any, t: int, rng: np.random.Generator) -> Any:
    """Any force."""
    return rng.uniform(-1.0, 1.0, 2)


def late(obs: Any, t: int, rng: np.random.Generator) -> Any:
    """Random, then the expert."""
    return at_random(obs, t, rng) if t < 12 else towards(obs, obs["desired_goal"])


def lost(cell: tuple[int, int]) -> Policy:
    """Goes to another cell and stays there."""
    return lambda obs, t, rng: towards(obs, middle(cell)) + 0.3 * rng.normal(size=2)


def hover(obs: Any, t: int, rng: np.random.Generator) -> Any:
    """Stays just outside the goal's circle of 0.45 m."""
    goal, back = obs["desired_goal"], path(cell_of(obs["achieved_goal"]), cell_of(obs["desired_goal"]))
    if len(back) > 2:
        return towards(obs, goal)
    away = obs["achieved_goal"] - goal
    return towards(obs, goal + 0.75 * away / max(float(np.linalg.norm(away)), 1e-9))


def play(env: Any, policy: Policy, task: int, seed: int, name: str) -> Trajectory:
    """One episode."""
    start, goal = TASKS[task]
    obs, info = env.reset(options={"task": {"seed": seed, "start": start, "goal": goal}})
    rng, seen, infos, actions, rewards = np.random.default_rng([task, seed]), [obs], [info], [], []
    while True:
        actions.append(np.clip(policy(obs, len(actions), rng), -1.0, 1.0).astype(np.float32))
        obs, reward, terminated, truncated, info = env.step(actions[-1])
        seen.append(obs)
        infos.append(info)
        rewards.append(reward)
        if terminated or truncated:
            meta = {"task": task, "seed": seed, "policy": name, "start": start, "goal": goal}
            return Trajectory(seen, actions, np.array(rewards), terminated, truncated, infos, meta)


def runs(env: Any, seeds: Sequence[int]) -> list[Trajectory]:
    """Of every task and seed: three experts, one late, one that hovers, two random, four that get lost."""
    out = []
    for task, (_, goal) in enumerate(TASKS):
        for seed in seeds:
            rng = np.random.default_rng([task, seed])
            wrong = [CELLS[i] for i in rng.permutation(len(CELLS)) if CELLS[i] != goal][:4]
            policies = {"expert": expert(0.3), "noisy expert": expert(1.0), "poor expert": expert(2.0), "late": late}
            policies |= {"hover": hover, "random": at_random, "random again": at_random}
            policies |= {f"lost {c}": lost(c) for c in wrong}
            out += [play(env, p, task, 100 * seed + k, name) for k, (name, p) in enumerate(policies.items())]
    return out


def correlation(a: Any, b: Any) -> float:
    """Spearman's; 0 where one of them is constant."""
    x, y = ranks(a) - (len(a) - 1) / 2, ranks(b) - (len(b) - 1) / 2
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y / size) if size > 0 else 0.0


# -- SRPO ------------------------------------------------------------------------------------------
def positions(traj: Trajectory) -> Any:
    """``(T + 1, 2)``."""
    return np.array([o["achieved_goal"] for o in traj.obs])


def end(traj: Trajectory) -> Any:
    """Where it ended, ``(2,)``."""
    return 10.0 + positions(traj)[-1]  # nowhere 0, which SRPO reads as no embedding


def film(traj: Trajectory) -> Any:
    """Eight positions along the way, ``(16,)``."""
    x = positions(traj)
    return 10.0 + x[np.linspace(0, len(x) - 1, 8).round().astype(int)].ravel()


def visited(traj: Trajectory) -> Any:
    """Was it ever there, cell by cell, ``(7,)``."""
    there = {cell_of(x) for x in positions(traj)}
    return np.array([float(c in there) for c in CELLS])


EMBEDDINGS = {"film": film, "end": end, "visited": visited, "actions (the default)": actions_taken}


def srpo(group: Sequence[Trajectory]) -> dict[str, Any]:
    """How SRPO grades failures, against the way that they had left."""
    rows = []
    parts = [[t for t in group if t.meta["task"] == k] for k in range(len(TASKS))]

    def row(name: str, paid: Sequence[Sequence[Trajectory]]) -> None:
        lost = [[t for t in part if not t.infos[-1]["success"]] for part in paid]
        told = [([t.rewards.sum() for t in p], [-t.infos[-1]["way"] for t in p]) for p in lost]
        won = [t.rewards.sum() for part in paid for t in part if t.infos[-1]["success"]]
        rows.append(
            {
                "reward": name,
                "correlation": float(np.mean([correlation(r, d) for r, d in told if len(r) > 1])),
                "pairs_right": float(np.nanmean([pairwise_accuracy(r, d) for r, d in told])),
                "failures_paid": float(np.mean([x for r, _ in told for x in r])),
                "best_failure": float(max(x for r, _ in told for x in r)),
                "worst_success": float(min(won)) if won else None,
            }
        )

    row("outcome alone", parts)
    for name, embed in EMBEDDINGS.items():
        row(f"SRPO, {name}", [Stack([SelfReferential(embed=embed)]).run(p) for p in parts])
    failures = [[t for t in p if not t.infos[-1]["success"]] for p in parts]
    row("failures alone, film", [Stack([SelfReferential(embed=film)]).run(p) for p in failures])
    banked = Stack([SelfReferential(embed=film, bank=32)])
    banked.learn(list(group))
    row("failures alone, film, bank of past successes", [banked.run(p) for p in failures])
    hopeless = [[t for t in p if t.meta["policy"].startswith("random") or t.infos[-1]["success"]] for p in parts]
    row(
        "successes and random, film, scaled by the group",
        [Stack([SelfReferential(embed=film)]).run(p) for p in hopeless],
    )
    fixed = SelfReferential(embed=film, scale="fixed", width=2.0)
    row("successes and random, film, fixed scale", [Stack([fixed]).run(p) for p in hopeless])
    counts = {"episodes": len(group), "successes": sum(t.infos[-1]["success"] for t in group), "groups": len(parts)}
    return {"rows": rows, "counts": counts}


# -- Robo-Dopamine ---------------------------------------------------------------------------------
class Judge:
    """Says hops between two observations by the way left on the map, with an error on each answer."""

    def __init__(self, noise: float = 0.0, straight: bool = False) -> None:
        self.noise, self.straight, self.rng = noise, straight, np.random.default_rng(0)

    def _progress(self, obs: Any, goal: Any) -> float:
        x, g = obs["achieved_goal"], goal["achieved_goal"]
        return 1.0 - (float(np.linalg.norm(x - g)) if self.straight else way(x, g)) / LONGEST

    def __call__(self, before: Any, after: Any, start: Any, goal: Any) -> float:
        """The hop."""
        p, q = (min(max(self._progress(o, goal), 0.0), 1.0) for o in (before, after))
        return float(hop(p, q)) + self.noise * float(self.rng.normal())


VIEWS: dict[str, dict[str, Any]] = {
    "incremental": {"views": ("incremental",)},
    "forward": {"views": ("forward",)},
    "backward": {"views": ("backward",)},
    "all three": {},
    "all three, consistency 1": {"consistency": 1.0},
}


def followed(stack: Stack, traj: Trajectory) -> Any:
    """``(T + 1,)`` progress after each observation: the sum of undiscounted rewards."""
    (paid,) = stack.run([traj])
    return np.concatenate([[0.0], np.cumsum(paid.terms["hop_progress"])])


def shown(seen: Sequence[Any], goal: Any) -> Trajectory:
    """A film without actions."""
    n = len(seen) - 1
    return Trajectory(seen, [None] * n, np.zeros(n), False, True, [{"goal": goal}] * (n + 1))


def hops(group: Sequence[Trajectory]) -> dict[str, Any]:
    """Progress put together from hops, and what shaping by it does to returns."""
    done = [t for t in group if t.infos[-1]["success"]]
    judges = {"exact": Judge, "error 0.1": lambda: Judge(0.1), "error 0.3": lambda: Judge(0.3)}
    judges |= {"straight line": lambda: Judge(straight=True)}
    rows = []
    for who, judge in judges.items():
        for name, settings in VIEWS.items():
            stack = Stack([HopProgress(scorer=judge(), goal="goal", gamma=1.0, terminal_potential=None, **settings)])
            pairs = [(followed(stack, t), 1.0 - t.trace("way") / t.trace("way")[0]) for t in done]
            goals = {id(t.obs[0]): t.infos[0]["goal"] for t in done} | {id(t.obs[-1]): t.infos[0]["goal"] for t in done}
            voc = both_ways(
                lambda seen, s=stack, g=goals: followed(s, shown(seen, g[id(seen[0])])), [t.obs for t in done]
            )
            rows.append(
                {
                    "judge": who,
                    "views": name,
                    "correlation": float(np.mean([correlation(a, b) for a, b in pairs])),
                    "error": float(np.sqrt(np.mean(np.concatenate([a - b for a, b in pairs]) ** 2))),
                    "voc_forward": voc.forward,
                    "voc_backward": voc.backward,
                }
            )
    return {"rows": rows, "returns": returns(group), "successes": len(done)}


def returns(group: Sequence[Trajectory], gamma: float = 0.99) -> list[dict[str, Any]]:
    """What shaping adds to discounted returns."""
    arms = {
        "potential, 0 at the end": HopProgress(scorer=Judge(), goal="goal", views=("backward",), gamma=gamma),
        "potential, kept at the end (the paper's)": HopProgress(
            scorer=Judge(), goal="goal", views=("backward",), gamma=gamma, terminal_potential=None
        ),
        "plain difference": HopProgress(
            scorer=Judge(), goal="goal", views=("backward",), gamma=1.0, terminal_potential=None
        ),
    }
    out = []
    for name, layer in arms.items():
        added, whole = [], []
        paid = Stack([layer]).run(list(group))
        for t in paid:
            discount = gamma ** np.arange(len(t))
            added.append(float(discount @ t.terms["hop_progress"]))
            whole.append(float(discount @ t.rewards))
        ended = np.array([t.infos[-1]["success"] for t in group])
        length = [len(t) if e else 10**6 for t, e in zip(group, ended)]
        bent = [
            pairwise_accuracy([whole[i] for i in part], [-length[i] for i in part])
            for k in range(len(TASKS))
            if (part := [i for i, t in enumerate(group) if t.meta["task"] == k])
        ]
        a = np.array(added)
        still = [t for t, e in zip(paid, ended) if t.meta["policy"] == "hover" and not e]
        out.append(
            {
                "shaping": name,
                "policy_invariant": layer.policy_invariant,
                "successes": [float(a[ended].min()), float(a[ended].max())],
                "a_step_of_hovering": float(np.mean([t.terms["hop_progress"][-10:] for t in still])) if still else None,
                "faster_over_slower": float(np.nanmean(bent)),
            }
        )
    return out
