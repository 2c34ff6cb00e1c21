"""Checklists and episodes that tick them off, for tests of CM2."""

import numpy as np

from milepost.wrappers import Checklist, Stack, Trajectory
from milepost.wrappers import conformance as C


def item(id, weight=1.0, turn=0, *depends, **more):
    return {"id": id, "weight": weight, "turn": turn, "depends": depends} | more


def episode(items, steps, turns=None, first=(), rewards=None, terminated=True, errors=(), **more):
    """``steps`` are the names of what holds after each step, ``turns`` the turn that each step belongs to (then one after)."""
    ids = [i["id"] for i in items]
    infos = [{"subgoals": {i: i in held for i in ids}} for held in [first, *steps]]
    for k, info in enumerate(infos):
        if turns is not None:
            info["turn"] = [*turns, turns[-1] if turns else 0][k]
        if k:
            info["tool_calls"] = ({"name": "t", "arguments": {}, "ok": k - 1 not in errors, "result": "r"},)
    infos[0]["meta"] = {"checklist": tuple(items), "task": 0}
    r = np.zeros(len(steps)) if rewards is None else np.array(rewards, float)
    obs = [f"state {k}" for k in range(len(infos))]
    return Trajectory(obs, ["act"] * len(steps), r, terminated, not terminated, infos, {"task": 0} | more)


def paid(t, **settings):
    return Stack([Checklist(**settings)]).run([t])[0].rewards


TWO = [item("A", 0.6), item("B", 0.4), item("C", 1.0, 1)]


def facts(state):
    items = (item("a", 0.5), item("b", 0.5, 0, "a", focus="tool_calls"), item("c", 1.0, 1, "a"))
    calls = ({"name": "go", "arguments": {}, "ok": state != 2, "result": ""},)
    known = C.facts_of(state)
    subgoals = known["subgoals"] | {"c": state % 2 == 0}
    return known | {"subgoals": subgoals, "tool_calls": calls, "turn": state // 3, "meta": {"checklist": items}}


def told(state):
    return facts(state) | {"messages": ({"role": "user", "content": f"in {state}"},)}
