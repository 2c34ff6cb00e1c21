"""RoboReward on PointMaze, for ``benchmarks/own_kind.py``: grades of recorded runs by several judges, and what forging is for.

The judges read a sentence about where a run began and where it ended, as ratings of ``GradedOutcome``. One goes by the map,
one by the straight line, some are nearest neighbours that learnt from graded runs, and SmolLM2-135M is a real model. The
truth is the simulator's: 5 for its own success, else the grade of the share of the way that was made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from own_kind_robots import CELLS, correlation, middle, objective, way

from milepost.wrappers import GradedOutcome, Stack, Trajectory
from milepost.wrappers.collect.negatives import Graded, NegativeForge, grade_of, replay, share_of
from milepost.wrappers.probes.reward_bench import reward_bench
from milepost.wrappers.scorers import Reply, Service

POINT = re.compile(r"\((-?\d+\.\d+), (-?\d+\.\d+)\)")
CELL = re.compile(r"row (\d), column (\d)")
RADIUS = 0.45  # m from the goal that the environment calls success


def sentence(traj: Trajectory) -> str:
    """What a judge reads of a run."""
    (a, b), (c, d) = (traj.obs[i]["achieved_goal"] for i in (0, -1))
    cell = min(CELLS, key=lambda k: float(np.abs(middle(k) - [c, d]).max()))
    return (
        f"The ball began at ({a:.2f}, {b:.2f}) and ended at ({c:.2f}, {d:.2f}), "
        f"in the cell in row {cell[0]}, column {cell[1]}."
    )


def read(task: str, text: str) -> tuple[Any, Any, Any]:
    """Where a run began, where it ended, and the middle of the cell that was asked for."""
    begin, end = (np.array([float(x) for x in p]) for p in POINT.findall(text))
    (cell,) = CELL.findall(task)
    return begin, end, middle([int(x) for x in cell])


class Reader:
    """A rating by a function of ``(begin, end, goal)``."""

    kinds = ("rating",)

    def __init__(self, name: str, grade: Callable[[Any, Any, Any], float]) -> None:
        self.identity, self.grade = {"scorer": f"own_kind: {name}"}, grade

    def reply(self, batch: Sequence[Any]) -> list[Reply | None]:
        """JSON of the grade."""
        return [Reply(json.dumps({"grade": float(self.grade(*read(q.task, q.text)))})) for q in batch]

    def read(self, raw: str, query: Any) -> Any:
        """The share."""
        return query.parse(raw)


def ruled(distance: Callable[[Any, Any], float]) -> Callable[[Any, Any, Any], float]:
    """5 within the radius, else by the share of the distance that was made."""

    def grade(begin: Any, end: Any, goal: Any) -> float:
        left = distance(end, goal)
        return grade_of(1.0 - left / max(distance(begin, goal), 1e-9), left <= RADIUS)

    return grade


def learnt(examples: Sequence[Graded], k: int = 5) -> Callable[[Any, Any, Any], float]:
    """The median grade of the ``k`` nearest examples, by begin, end and goal."""
    x = np.array([np.concatenate(read(e.task, sentence(e.traj))) for e in examples])
    y = np.array([e.grade for e in examples], np.float64)

    def grade(begin: Any, end: Any, goal: Any) -> float:
        near = np.argsort(((x - np.concatenate([begin, end, goal])) ** 2).sum(1), kind="stable")[:k]
        return float(np.median(y[near]))

    return grade


def straight(a: Any, b: Any) -> float:
    """Metres through the walls."""
    return float(np.linalg.norm(a - b))


def asked(traj: Trajectory) -> str:
    """The task in words."""
    return str(traj.infos[0]["objective"])


def real(group: Sequence[Trajectory]) -> list[Graded]:
    """Recorded runs with the grade that the simulator gives them."""
    return [
        Graded(asked(t), t, grade_of(share_of(t), t.infos[-1]["success"]), "real", i, asked(t))
        for i, t in enumerate(group)
    ]


def forge(env: Any, group: Sequence[Trajectory]) -> dict[str, list[Graded]]:
    """Graded failures made of the successes among these runs; relabelled ones are verified by playing them again."""
    successes = [t for t in group if t.infos[-1]["success"]]
    made = NegativeForge(successes, task=asked)
    verify = replay(env)

    def held_against(traj: Trajectory, cell: Any) -> float | None:
        return verify(traj, {"seed": traj.meta["seed"], "start": traj.meta["start"], "goal": cell})

    relabelled: list[Graded] = []
    for i, t in enumerate(successes):  # the other cells, less the one that it began in
        others = [(c, objective(c)) for c in CELLS if c not in (t.meta["start"], t.meta["goal"])]
        found = NegativeForge([t], task=asked).relabel(others, held_against, per_grade=2)
        relabelled += [x._replace(source=i) for x in found]
    return {
        "successes": made.positives(),
        "clipped": made.clip((0.0, 0.2, 0.4, 0.6, 0.8)),
        "relabelled": relabelled,
    }


def graded(judge: Any, discrete: bool = True) -> Callable[[Graded], float | None]:
    """The grade that ``GradedOutcome`` pays for, as a judge of ``reward_bench``; None where the judge had no answer."""
    service = judge if isinstance(judge, Service) else Service(judge, timeout=None)

    def say(x: Graded) -> float | None:
        stack = Stack([GradedOutcome(judge=service, view=sentence, task=x.task, discrete=discrete)])
        (paid,) = stack.run([x.traj])
        failed = stack.stats()["graded_outcome/failures"]
        return None if failed else 1.0 + 4.0 * float(paid.terms["graded_outcome"].sum())

    return say


def curve(judge: Any) -> Callable[[Trajectory], Any]:
    """The judge's progress along a run."""
    service = Service(judge)

    def say(traj: Trajectory) -> Any:
        stack = Stack([GradedOutcome(judge=service, view=sentence, task=asked(traj), discrete=False)])
        return stack.shapers[0].curve(traj)  # type: ignore[attr-defined]

    return say


def grades(
    env: Any, train: Sequence[Trajectory], test: Sequence[Trajectory], model: Any = "smollm2", most: int = 20
) -> Any:
    """Judges on held-out runs and on what is forged of held-out successes.

    Args:
        env: the maze.
        train: runs that the learnt judges may learn from; they are given the successes among them and what is forged.
        test: runs of other seeds.
        model: a real judge, see ``scorers.make``; empty: none.
        most: real and forged examples that the model is asked about.
    """
    made, tests = forge(env, train), forge(env, test)
    parts = [made["successes"], made["clipped"], made["relabelled"]]
    readers = {
        "the map (a rule)": Reader("map", ruled(way)),
        "the straight line (a rule)": Reader("straight", ruled(straight)),
        "neighbours, successes alone": Reader("0", learnt(parts[0])),
        "neighbours, and clipped": Reader("1", learnt(parts[0] + parts[1])),
        "neighbours, and relabelled": Reader("2", learnt(parts[0] + parts[2])),
        "neighbours, clipped and relabelled": Reader("3", learnt(parts[0] + parts[1] + parts[2])),
    }
    judges: dict[str, Callable[[Any], float | None]] = {k: graded(v) for k, v in readers.items()}
    judges["success alone, 5 or 1"] = lambda x: 5.0 if judges["the map (a rule)"](x) == 5.0 else 1.0
    judges["always 3"] = lambda x: 3.0
    curves = {k: curve(v) for k, v in readers.items()}
    sets = {"real": real(test), "forged": [x for part in tests.values() for x in part]}
    rows = compared(judges, curves, sets)
    if model:
        rng = np.random.default_rng(0)
        few = {k: [v[i] for i in np.sort(rng.permutation(len(v))[:most])] for k, v in sets.items()}
        service = Service(model, timeout=None)
        name = model if isinstance(model, str) else type(model).__name__
        said = {f"{name}, {most} of each": graded(service), f"{name}, not rounded": graded(service, discrete=False)}
        rows += compared(said, {}, few)
        service.close()
    counts = {f"trained on {k}": len(v) for k, v in made.items()} | {f"tested on {k}": len(v) for k, v in sets.items()}
    truth = {k: np.bincount([x.grade for x in v], minlength=6)[1:].tolist() for k, v in sets.items()}
    return {"rows": rows, "counts": counts, "grades_1_to_5": truth}


def compared(judges: Any, curves: Any, sets: dict[str, list[Graded]]) -> list[dict[str, Any]]:
    """A row a judge."""
    a, b = (reward_bench(sets[k], judges, c) for k, c in (("real", curves), ("forged", None)))
    lost = [x for x in sets["real"] if x.grade < 5]
    left = [-x.traj.infos[-1]["way"] for x in lost]
    return [
        {
            "judge": name,
            "mae_real": a[name].mae,
            "pairs_real": a[name].accuracy,
            "mae_forged": b[name].mae,
            "pairs_forged": b[name].accuracy,
            "voc": a[name].voc,
            "no_answer": a[name].failures + b[name].failures,
            "failures_by_way": correlation([judge(x) or 0.0 for x in lost], left),
        }
        for name, judge in judges.items()
    ]
