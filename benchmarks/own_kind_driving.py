"""CaRL and VLM-RL on highway-env, for ``benchmarks/own_kind.py``: what their rewards say of scripted drivers.

Traffic on three lanes (``highway-fast-v0``, 20 s, one decision a second), the same start seeds for every driver. A wrapper
publishes the facts that the methods read, all from the simulator: distance as a share of a route, crash, time to collision,
speed over the limit, a caption. No agent is trained and no judge but MiniLM is a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from milepost.wrappers import ContrastiveGoal, MultiplicativeProgress, Stack, Trajectory, shape
from milepost.wrappers.combine import Scale
from milepost.wrappers.probes.voc import ranks

SECONDS, LIMIT, CAR = 20, 30.0, 5.0  # of an episode; m/s, the road's own limit; m, length of a car
ROUTE = SECONDS * LIMIT
CONFIG = {
    "vehicles_count": 10,
    "vehicles_density": 1.3,
    "lanes_count": 3,
    "duration": SECONDS,
    "action": {"type": "DiscreteMetaAction", "target_speeds": np.linspace(0.0, 35.0, 8)},
    "offroad_terminal": True,
}
LEFT, IDLE, RIGHT, FASTER, SLOWER = range(5)
OVER = 2.23  # m/s over the limit at which CaRL's factor is 0
NEAR = 2.0  # s to a collision below which a car is too close
POSITIVE = ("The road is clear with no car accidents.",)  # the paper's two goals, as far as our notes quote them
NEGATIVE = ("Two cars have collided with each other on the road.",)


def ahead(env: Any, lane: Any = None) -> tuple[float, float]:
    """Metres to the car in front and how fast the gap closes, m/s; ``inf`` and 0 on a free lane."""
    car = env.unwrapped.vehicle
    front, _ = env.unwrapped.road.neighbour_vehicles(car, lane or car.lane_index)
    if front is None:
        return np.inf, 0.0
    return float(front.position[0] - car.position[0] - CAR), float(car.speed - front.speed)


def to_collision(env: Any) -> float:
    """Seconds until the car in front is hit at these speeds; ``inf``: never."""
    gap, closing = ahead(env)
    return max(gap, 0.0) / closing if closing > 0.1 else np.inf


def caption(env: Any) -> str:
    """What a passenger would say, by rules over the simulator's facts."""
    car = env.unwrapped.vehicle
    gap, seconds = ahead(env)[0], to_collision(env)
    if car.crashed:
        said = "The car has hit another car."
    elif seconds < NEAR:
        said = "The car is about to hit the car in front of it."
    elif gap < 10.0 or seconds < 2 * NEAR:
        said = "Another car is dangerously close in front."
    elif gap < 40.0:
        said = "The car follows another car at a safe distance."
    else:
        said = "Nothing is in the way of the car."
    pace = "stands still" if car.speed < 2 else "drives slowly" if car.speed < 18 else "drives"
    pace = "speeds" if car.speed > LIMIT + 1 else pace
    return f"{said} It {pace} in the {('left', 'middle', 'right')[car.lane_index[2]]} lane."


class Facts(gym.Wrapper[Any, Any, Any, Any]):
    """Publishes what the methods read."""

    def _facts(self) -> dict[str, Any]:
        car = self.unwrapped.vehicle
        return {
            "progress": min(max(float(car.position[0] - self._start) / ROUTE, 0.0), 1.0),
            "crash": bool(car.crashed),
            "off_road": not car.on_road,
            "too_close": to_collision(self) < NEAR,
            "lawful": max(0.0, 1.0 - max(0.0, float(car.speed) - LIMIT) / OVER),
            "speed": float(car.speed),
            "seconds": min(to_collision(self), 60.0),
            "caption": caption(self),
        }

    def reset(self, **kw: Any) -> tuple[Any, dict[str, Any]]:
        """The route begins here."""
        obs, _ = self.env.reset(**kw)
        self._start = float(self.unwrapped.vehicle.position[0])
        return obs, self._facts()

    def step(self, action: Any) -> Any:
        """With the facts."""
        obs, reward, terminated, truncated, _ = self.env.step(action)
        return obs, float(reward), bool(terminated), bool(truncated), self._facts()


@dataclass(frozen=True)
class Driver:
    """Follows the road; overtakes where the next lane is free."""

    top: float
    """m/s that it goes at most on a free lane."""
    distance: float = 2.0
    """s of distance that it keeps."""
    care: float = 5.0
    """s to a collision below which it brakes or overtakes."""

    def __call__(self, env: Any, rng: np.random.Generator) -> int:
        """The next action."""
        car, road = env.unwrapped.vehicle, env.unwrapped.road
        gap, closing = ahead(env)
        if gap < self.distance * car.speed or to_collision(env) < self.care:
            for lane in road.network.side_lanes(car.lane_index):
                front, rear = road.neighbour_vehicles(car, lane)
                needed = max(gap + 5.0 * self.distance, 0.75 * self.distance * car.speed)
                free = front is None or front.position[0] - car.position[0] - CAR > needed
                faster = 0.0 if rear is None else max(rear.speed - car.speed, 0.0)
                behind = rear is None or car.position[0] - rear.position[0] - CAR > self.distance * (5.0 + faster)
                if free and behind and car.lane_index == car.target_lane_index:
                    return LEFT if lane[2] < car.lane_index[2] else RIGHT
            if closing > 0 or gap < 0.5 * self.distance * car.speed:
                return SLOWER
            return IDLE
        return SLOWER if car.speed > self.top + 3 else FASTER if car.target_speed < self.top - 3 else IDLE


def parked(env: Any, rng: np.random.Generator) -> int:
    """Stops and stays."""
    return SLOWER


def reckless(env: Any, rng: np.random.Generator) -> int:
    """Full speed, and another lane now and then, whoever is there."""
    return int(rng.choice([LEFT, RIGHT])) if rng.random() < 0.15 else FASTER


def at_random(env: Any, rng: np.random.Generator) -> int:
    """Any action."""
    return int(rng.integers(5))


DRIVERS: dict[str, Callable[[Any, np.random.Generator], int]] = {
    "good": Driver(LIMIT),
    "timid": Driver(10.0),
    "parked": parked,
    "speeding": Driver(35.0),
    "pushy": Driver(35.0, 0.3, 1.2),
    "reckless": reckless,
    "random": at_random,
}


def drive(env: Any, name: str, seed: int) -> Trajectory:
    """One episode."""
    obs, info = env.reset(seed=seed)
    rng, seen, infos, actions, rewards = np.random.default_rng(seed), [obs], [info], [], []
    while True:
        actions.append(DRIVERS[name](env, rng))
        obs, reward, terminated, truncated, info = env.step(actions[-1])
        seen.append(obs)
        infos.append(info)
        rewards.append(reward)
        if terminated or truncated:
            return Trajectory(
                seen, actions, np.array(rewards), terminated, truncated, infos, {"driver": name, "seed": seed}
            )


def road() -> Any:
    """The environment with its facts."""
    import highway_env

    gym.register_envs(highway_env)
    return Facts(gym.make("highway-fast-v0", config=CONFIG))


def drives(episodes: int) -> list[Trajectory]:
    """Every driver on the same starts."""
    env = road()
    out = [drive(env, name, seed) for name in DRIVERS for seed in range(episodes)]
    env.close()
    return out


# -- CaRL ------------------------------------------------------------------------------------------
SOFT = {"lawful": None, "too_close": (0.5, 5), "off_road": 0.0}
CARL = MultiplicativeProgress(soft=SOFT, hard={"crash": -1.0}, scale=100.0)


def additive(traj: Trajectory) -> Trajectory:
    """The additive reward that CaRL is compared with, without its comfort: (5 progress + 5 not too close + 4 lawful) / 14.

    Each part is 1 at best in a step (progress: the distance of a second at the limit), 100 in all over an episode.
    """
    paid = [
        5.0 * (b["progress"] - a["progress"]) * SECONDS + 5.0 * (not b["too_close"]) + 4.0 * b["lawful"]
        for a, b in zip(traj.infos, traj.infos[1:])
    ]
    return replace(traj, rewards=np.array(paid) / 14.0 * 100.0 / SECONDS, terms={})


def auc(high: Any, low: Any) -> float:
    """Probability that a number of ``high`` is above one of ``low``; equal ones count half. NaN: one of them is empty."""
    n, m = len(high), len(low)
    return float(ranks([*high, *low])[:n].sum() - n * (n - 1) / 2) / (n * m) if n and m else float("nan")


def carl(group: Sequence[Trajectory]) -> dict[str, Any]:
    """How CaRL and others order the episodes."""
    arms = {
        "highway-env's own reward": list(group),
        "additive, CaRL's own alternative": [additive(t) for t in group],
        "progress alone": Stack([Scale(0.0), MultiplicativeProgress(scale=100.0)]).run(group),
        "CaRL without the soft penalties": Stack(
            [Scale(0.0), MultiplicativeProgress(hard={"crash": -1.0}, scale=100.0)]
        ).run(group),
        "CaRL": Stack([Scale(0.0), CARL]).run(group),
    }
    crash = np.array([t.infos[-1]["crash"] for t in group])
    progress = np.array([t.infos[-1]["progress"] for t in group])
    far, still = ~crash & (progress >= 0.6), ~crash & (progress < 0.4)
    lawful = far & [all(i["lawful"] == 1 and not i["too_close"] for i in t.infos[1:]) for t in group]
    rows = []
    for name, seen in arms.items():
        returns = np.array([t.rewards.sum() for t in seen])
        mean = {d: float(np.mean([x for x, t in zip(returns, seen) if t.meta["driver"] == d])) for d in DRIVERS}
        rows.append(
            {
                "reward": name,
                "far_over_crash": auc(returns[far], returns[crash]),
                "far_over_still": auc(returns[far], returns[still]),
                "lawful_over_unlawful": auc(returns[lawful], returns[far & ~lawful]),
                "ranking": sorted(mean, key=lambda d: -mean[d]),
                "mean_return": mean,
            }
        )
    by = {d: [t for t in group if t.meta["driver"] == d] for d in DRIVERS}
    told = {
        d: {
            "progress": float(np.mean([t.infos[-1]["progress"] for t in ts])),
            "crashed": float(np.mean([t.infos[-1]["crash"] for t in ts])),
            "steps_unlawful": float(np.mean([i["lawful"] < 1 or i["too_close"] for t in ts for i in t.infos[1:]])),
            "seconds": float(np.mean([len(t) for t in ts])),
        }
        for d, ts in by.items()
    }
    counts = {k: int(v.sum()) for k, v in (("far", far), ("crash", crash), ("still", still), ("lawful", lawful))}
    return {
        "rows": rows,
        "drivers": told,
        "counts": counts,
        "online_differs_by": max(online(ts[0]) for ts in by.values() if ts),
    }


def online(traj: Trajectory) -> float:
    """The largest difference of a step's reward between ``shape(env, ...)`` and the recorded episode."""
    env = shape(road(), [Scale(0.0), CARL])
    env.reset(seed=traj.meta["seed"])
    got = np.array([env.step(a)[1] for a in traj.actions])
    env.close()
    (recorded,) = Stack([Scale(0.0), CARL]).run([traj])
    return float(np.abs(got - recorded.rewards).max())


# -- VLM-RL ----------------------------------------------------------------------------------------
ARMS: dict[str, dict[str, Any]] = {
    "both goals, contrasted (auto range)": {"clip": "auto"},
    "both goals, the paper's range 0 to 0.03": {},
    "both goals, weighted one half each": {"form": "weighted"},
    "positive goal alone": {"form": "weighted", "alpha": 1.0},
    "negative goal alone (LORD)": {"form": "weighted", "alpha": 0.0},
    "projection (VLM-RM)": {"form": "projection"},
}


def vlm(group: Sequence[Trajectory], embedder: str = "minilm_embedder", before: int = 2) -> dict[str, Any]:
    """Does the reward of a step tell of the crash that comes?"""
    hit = [t.infos[-1]["crash"] for t in group]
    rows: list[dict[str, Any]] = []

    def row(name: str, judged: str, values: Sequence[Any]) -> None:
        safe = np.concatenate([v for v, h in zip(values, hit) if not h])
        crashed = [v for v, h in zip(values, hit) if h]
        late = np.concatenate([v[-1 - before : -1] for v in crashed])
        last = np.array([v[-1] for v in crashed])
        rows.append(
            {
                "reward": name,
                "embedder": judged,
                "auc_before": auc(safe, late),
                "auc_crash": auc(safe, last),
                "spread": float(np.std(np.concatenate(values))),
            }
        )

    for who in (embedder, "hashed"):
        for name, settings in ARMS.items() if who == embedder else list(ARMS.items())[:1]:
            stack = Stack([ContrastiveGoal(POSITIVE, NEGATIVE, embedder=who, key="caption", **settings)])
            row(name, who, [t.terms["contrastive_goal"] for t in stack.run(group)])
    row("highway-env's own reward", "-", [t.rewards for t in group])
    row("time to collision itself (the captions' source)", "-", [t.trace("seconds")[1:] for t in group])
    paced = ContrastiveGoal(
        POSITIVE, NEGATIVE, embedder=embedder, key="caption", clip="auto", pace="speed", target=LIMIT
    )
    paid = Stack([paced]).run(group)
    (first, *_), at = list(ARMS.items()), {}  # c of each kind of caption, contrasted
    stack = Stack([ContrastiveGoal(POSITIVE, NEGATIVE, embedder=embedder, key="caption", **first[1])])
    for t in stack.run(group):
        for info, c in zip(t.infos[1:], t.terms["contrastive_goal"]):
            at.setdefault(info["caption"].split(".")[0], []).append(float(c))
    return {
        "rows": rows,
        "steps": {
            "safe": sum(len(t) for t, h in zip(group, hit) if not h),
            "before": sum(min(before, len(t) - 1) for t, h in zip(group, hit) if h),
            "crash": sum(hit),
        },
        "captions": {k: {"c": float(np.mean(v)), "steps": len(v)} for k, v in at.items()},
        "paced": {
            d: float(np.mean([x for t in paid if t.meta["driver"] == d for x in t.terms["contrastive_goal"]]))
            for d in DRIVERS
        },
    }
