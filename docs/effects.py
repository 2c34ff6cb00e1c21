"""What every method does to the same three episodes: the tables of the methods' pages, computed by the methods themselves."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from milepost.wrappers import Stack, Trajectory
from milepost.wrappers.shaper import Shaper, load

WALKS = {  # what happens: the cells of a corridor from 0 to the goal 4
    "straight to the goal": (0, 1, 2, 3, 4),
    "back and forth, then the goal": (0, 1, 0, 1, 2, 3, 4),
    "back and forth, given up": (0, 1, 0, 1, 0),
}
GOAL = 4
EXAMPLES: dict[str, dict[str, Any]] = {  # settings that a method needs, or with which it has something to do here
    "caption_reward": {"labels": {"you are at 3": 1.0, "you are at 1": 0.2}},
    "clip": {"low": -0.5, "high": 0.5},
    "conserve": {"child": {"shaper": "score_delta"}},
    "constraints": {"upper": {"turned_back": 0.1}},
    "contrastive_goal": {
        "positive": ["you are at 4"],
        "negative": ["you are at 0"],
        "key": "message",
        "form": "weighted",
    },
    "episodic_count_discount": {"child": {"shaper": "score_delta"}},
    "focus": {"of": "format", "child": {"shaper": "scale", "factor": 2.0}},
    "fused_advantage": {"process": ("format",)},
    "gate": {"child": {"shaper": "scale", "factor": 2.0}, "key": "progress", "threshold": 0.5},
    "implicit_process": {"reference": "start", "actions": 3},
    "judgement_table": {
        "judge": {"scorer": "predicate", "patterns": {"far": "at [34]"}},
        "subgoals": ["far"],
        "view": "message",
        "task": "walk",
        "once": True,
    },
    "krc": {"facts": ("progress", "health")},
    "listwise_advantage": {"tau": 1.0},
    "mix": {"parts": [{"shaper": "uniform"}, {"shaper": "score_delta"}]},
    "multiplicative_progress": {"soft": {"turned_back": 0.5}},
    "scale": {"factor": 2.0},
    "shapley_steps": {"value": "milepost.wrappers.episode.scar:covered"},
    "term_blend": {"terms": ("format",), "start": 0.5},
    "weighted_tests": {},
}


def facts(cell: int, before: int, seen: set[int]) -> dict[str, Any]:
    """All that a method may read, of a state."""
    call = {"name": "go", "arguments": {"to": cell}, "ok": cell >= before, "result": f"you are at {cell}"}
    return {
        "progress": cell / GOAL,
        "health": 1.0 - 0.25 * (cell < before),
        "score": float(cell),
        "max_score": float(GOAL),
        "success": cell == GOAL,
        "valid_action": cell >= before,
        "turned_back": float(cell < before),
        "subgoals": {"half way": cell >= 2, "at the goal": cell == GOAL},
        "process_score": 1.0 if cell > before else 0.0,
        "tool_calls": (call,),
        "reference": tuple({"name": "go", "arguments": {"to": k}} for k in range(1, GOAL + 1)),
        "tests": {f"passed {k}": k in seen for k in range(1, GOAL + 1)},
        "value": cell / GOAL,
        "answer_logprob": float(cell - GOAL),
        "message": f"you are at {cell}",
        "consistent": 1.0,
        "verifiable": False,
        "similarity": cell / GOAL,
        "grade": 1 + cell,
        "answer": f"cell {cell}",
        "reference_answer": f"cell {GOAL}",
        "latent_factors": {"forward": float(cell > before), "back": float(cell < before)},
        "scores": {"goal": float(cell)},
        "attribution": {"goal": float(max(0, cell - before) * 10)},
        "team_reward": float(cell == GOAL),
        "counterfactual": 0.0,
        "coalition_values": {
            "players": ("a", "b"),
            "player": 0,
            "coalitions": (0, 1, 2, 3),
            "values": (0.0, cell / GOAL, 0.0, float(cell == GOAL)),
            "orders": (),
        },
        "meta": {
            "checklist": (
                {"id": "half way", "weight": 0.5, "question": "was the middle reached?"},
                {"id": "at the goal", "weight": 0.5, "question": "was the goal reached?"},
            )
        },
        "messages": ({"role": "user", "content": f"you are at {cell}"},),
    }


def episode(number: int, walk: tuple[int, ...]) -> Trajectory:
    """A walk: 1.0 for the goal (``outcome``), 0.1 for every step (``format``)."""
    seen = {walk[0]}
    infos = [facts(walk[0], walk[0], seen)]
    actions = []
    for before, cell in itertools.pairwise(walk):
        seen = seen | {cell}
        actions.append(1 if cell > before else 0)
        terms = {"outcome": float(cell == GOAL), "format": 0.1}
        infos.append(facts(cell, before, seen) | {"reward_terms": terms})
    rewards = np.array([sum(i["reward_terms"].values()) for i in infos[1:]])
    won = walk[-1] == GOAL
    meta = {"task": "corridor", "agent": f"walker_{number}", "joint": 1, "logp": np.full(len(actions), -0.7)}
    obs = [f"you are at {c}" for c in walk]
    return Trajectory(obs, actions, rewards, won, not won, infos, meta | infos[0]["meta"])


EPISODES = [episode(k, walk) for k, walk in enumerate(WALKS.values())]


def said(numbers: Any) -> str:
    """Numbers in a cell of a table."""
    return ", ".join("-" if x != x else f"{x + 0.0:.2f}".replace("-0.00", "0.00") for x in numbers)


def effect(name: str, cls: type[Shaper]) -> str:
    """The table of a method.

    Raises:
        ValueError: it does nothing here, so the table would show nothing.
    """
    stack = Stack([load({"shaper": name} | EXAMPLES.get(name, {}))])
    for _ in range(3):
        stack.learn(EPISODES)
    out = stack.run(EPISODES)
    advice = cls.output == "advantage"
    after = [t.advantages if advice else t.rewards for t in out]
    if all(np.allclose(np.nan_to_num(a), t.rewards) for a, t in zip(after, EPISODES)):
        raise ValueError(f"{name} changes none of the episodes of docs/effects.py: give it an example in EXAMPLES")
    rows = [f"| {what} | {said(t.rewards)} | {said(a)} |" for what, t, a in zip(WALKS, EPISODES, after)]
    settings = ", ".join(f"`{k}={v!r}`" for k, v in EXAMPLES.get(name, {}).items())
    with_ = f" with {settings}" if settings else ""
    given = "advantage of each step" if advice else "with this layer"
    return "\n".join(
        [
            f"Three walks in a corridor of five cells, 0.1 a step and 1.0 at the goal{with_}; computed by `docs/effects.py`"
            + (", after the layer has learned from them:" if type(stack.shapers[0]).learn is not Shaper.learn else ":"),
            "",
            f"| walk | rewards | {given} |",
            "| --- | --- | --- |",
            *rows,
        ]
    )
