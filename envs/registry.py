"""One table of environment ids. A variant is a composition of wrappers over another id's class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

_QUEST = "milepost.envs.text.quest.env:QuestEnv"
_TEXTWORLD = "milepost.envs.text.textworld:TextWorldEnv"
_MINIHACK = "milepost.envs.text.minihack:MiniHackEnv"
_HACKABLE = "milepost.envs.text.hackable:HackableStepsEnv"
_FLOW = "milepost.envs.flow:FlowSamplerEnv"
_BUGREPAIR = "milepost.envs.swe.bugrepair:BugRepairEnv"
_CODEFIX = "milepost.envs.swe.codefix:CodeFixEnv"
_SWEBENCH = "milepost.envs.swe.swebench:SWEBenchEnv"
_TERMINAL = "milepost.envs.swe.terminal:TerminalEnv"
_CHOICE = (  # generators of PythonTool whose answers one of its programs finds
    "basic_arithmetic bitwise_arithmetic chain_sum count_bits count_primes gcd lcm products".split()
)
_TOOLS: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any]]] = {
    # name: class, what it is, the set that it needs beside the extra, settings of the encoded face: of the environment, of its
    # wrapper. That is CallRows, whole calls as rows, where calls made from the conversation hold the way to win every task, and
    # SlotRows, one choice after another, where they do not ("reachable": of the tasks those that it can win, see its page)
    "ServiceDesk": (
        "servicedesk.env:ServiceDeskEnv",
        "The service desk of a shop: a policy, a database, customers with requests",
        "",
        {"candidates": 300},
        {"rows": 48, "per_tool": 2},
    ),
    "SearchQA": (
        "searchqa:SearchQAEnv",
        "Multi-hop questions over generated pages with a BM25 search",
        "",
        {"candidates": 48},
        {"rows": 64, "per_tool": 20, "doubt": None},
    ),
    "PythonTool": (
        "pythontool:PythonToolEnv",
        "Reasoning tasks (reasoning-gym's) with a Python in a sandbox",
        "",
        {"datasets": _CHOICE},
        {"rows": 32, "reachable": True},
    ),
    "SQL": (
        "sql:SQLEnv",
        "Questions over generated databases, graded by result sets",
        "",
        {"candidates": 32},
        {"rows": 64, "per_tool": 20, "doubt": None},
    ),
    "BFCL": (
        "bfcl:BFCLEnv",
        "The Berkeley Function Calling Leaderboard's tasks and APIs",
        "bfcl",
        {},
        {"rows": 64, "reachable": True},
    ),
    "Tau2": (
        "tau2:Tau2Env",
        "tau2-bench's retail and airline desks",
        "tau2",
        {},
        {"rows": 96, "reachable": True},
    ),
    "MCP": (
        "mcp:MCPEnv",
        "Tasks over the tools of any MCP server; a desk of our own by default",
        "",
        {},
        {"rows": 64, "reachable": True},
    ),
    "FTRL": (
        "ftrl:FTRLEnv",
        "Questions whose tools are Python run in a sandbox; task files in FTRL's format",
        "",
        {},
        {"rows": 64, "reachable": True},
    ),
}
_CREDIT = {"format": 0.02, "valid_call": 0.02, "match": 0.2, "items": 0.2, "outcome": 1.0}
_ROWS = 29  # candidate repairs of the encoded face: with its tools 32 rows, as many as other faces have
# what the paper of G-RA (arXiv 2508.10548) pays beside the outcome; its numbers are not public, these are ours
_DENSE = {"format": 0.02, "valid_call": 0.02, "located": 0.1, "edited": 0.1, "tests": 0.5, "outcome": 1.0}
_LADDER: dict[str, dict[str, Any]] = {
    "easy": {"rooms": 3, "quest_length": 2, "containers": 1, "distractors": 2, "max_steps": 30},
    "medium": {"rooms": 6, "quest_length": 5, "doors": 1, "containers": 2, "distractors": 3, "max_steps": 60},
    "hard": {
        "rooms": 10,
        "quest_length": 13,
        "doors": 2,
        "containers": 3,
        "distractors": 5,
        "recipe": True,
        "max_steps": 200,
    },
}


@dataclass(frozen=True)
class Entry:
    """One row: what ``gym.make(id)`` builds."""

    id: str
    entry_point: str  # "module:Class", imported when the id is made
    summary: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[WrapperSpec, ...] = ()
    requires: str = ""  # extra that it needs
    setup: str = ""  # set that it needs beside the extra, for `milepost setup`


@dataclass(frozen=True)
class GameEntry:
    """One row: what ``pettingzoo.make("aec", id)`` and ``pettingzoo.make("parallel", id)`` build."""

    id: str
    module: str  # with raw_env, env and parallel_env
    rules: str  # "module:Class"
    summary: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    requires: str = "multiagent"  # extras that it needs, with commas between


_GAMES: dict[str, tuple[str, str]] = {  # module: its class, what it is
    "negotiation": ("Negotiation", "Bargaining over several issues with private valuations, two or three parties"),
    "tool_team": ("ToolTeam", "A planner and workers who share one service desk, or one repository"),
    "codewords": ("Codewords", "Clues of one word for hidden words on a board; two partners, or two teams that race"),
    "hidden_role": ("HiddenRole", "Werewolf: a village with wolves among it, and statements that can be lies"),
    "commons": ("Commons", "A social dilemma on a map: harvest that must last, or a river that somebody must clean"),
    "social": ("Social", "Role-play of two characters with private goals, scored on seven dimensions by rule"),
    "guarded_assistant": ("GuardedAssistant", "Secret-keeping over several turns: one must not reveal, the other asks"),
    "arena": ("Arena", "Any text task of Milepost, played by several agents at once and ranked pairwise"),
}


def games() -> list[GameEntry]:
    """All games for several agents; ``import milepost.envs.multiagent`` registers them with PettingZoo."""
    rows = []
    for name, (cls, what) in _GAMES.items():
        place = f"milepost.envs.multiagent.{name}"
        for face, more in (("", ""), ("-encoded", "; numbers in and out")):
            kwargs = {"face": "encoded"} if face else {}
            extras = "multiagent,tools" if name == "tool_team" else "multiagent"
            ids = f"milepost/{name}{face}-v0", f"{place}_v0", f"{place}:{cls}"
            rows.append(GameEntry(*ids, what + more, kwargs, extras))
    return rows


def _encode(**kwargs: Any) -> WrapperSpec:
    return WrapperSpec("Encode", "milepost.envs.text.encode:Encode", kwargs)


def _glyphs(**kwargs: Any) -> WrapperSpec:
    return WrapperSpec("Glyphs", "milepost.envs.text.glyphs:Glyphs", kwargs)


def _shaped(shaper: str, **settings: Any) -> WrapperSpec:
    spec = {"shapers": [{"shaper": f"milepost.wrappers.{shaper}", **settings}], "seed": 0, "facts": None}
    return WrapperSpec("ShapedEnv", "milepost.wrappers.hosts.env:ShapedEnv", spec)


def entries() -> list[Entry]:
    """All rows, in the order of the table."""
    quest = "Our own procedural text world"
    rows = [
        Entry("milepost/Quest-v0", _QUEST, f"{quest}; every setting by keyword"),
        Entry("milepost/Quest-encoded-v0", _QUEST, f"{quest}, numbers in and out", wrappers=(_encode(),)),
    ]
    for level, kwargs in _LADDER.items():
        name = f"milepost/Quest-{level}"
        what = f"{quest}, {level}: {kwargs['rooms']} rooms, {kwargs['quest_length']} sub-goals"
        delta = _shaped("step.score_delta:ScoreDelta")
        potential = _shaped("step.potential:PotentialShaping", key="progress")
        rows += [
            Entry(f"{name}-v0", _QUEST, what, kwargs),
            Entry(f"{name}-encoded-v0", _QUEST, f"{what}; numbers in and out", kwargs, (_encode(),)),
            Entry(f"{name}-dense-v0", _QUEST, f"{what}; pays each change of the score", kwargs, (delta,)),
            Entry(f"{name}-shaped-v0", _QUEST, f"{what}; progress as a potential", kwargs, (potential,)),
        ]
        rows += [  # the same in numbers
            Entry(
                r.id.replace("-v0", "-encoded-v0"),
                _QUEST,
                f"{r.summary}; numbers in and out",
                kwargs,
                (*r.wrappers, _encode()),
            )
            for r in rows[-2:]
        ]
    clock = "A regression test for reward methods: harmless steps are paid"
    raw = {"weights": {"outcome": 1.0, "step": 0.05}}
    flow = "A small flow-matching sampler, steered by its noise"
    rows += [
        Entry("milepost/HackableSteps-v0", _HACKABLE, f"{clock}, and repeating them pays more than the task", raw),
        Entry(
            "milepost/HackableSteps-sparse-v0",
            _HACKABLE,
            f"{clock} in HackableSteps-v0, here the outcome alone",
            {"weights": {"outcome": 1.0, "step": 0.0}},
        ),
        Entry("milepost/HackableSteps-encoded-v0", _HACKABLE, f"{clock}; numbers in and out", raw, (_encode(),)),
        Entry("milepost/FlowSampler-v0", _FLOW, f"{flow}, in words"),
        Entry(
            "milepost/FlowSampler-encoded-v0",
            _FLOW,
            f"{flow}; numbers in and out",
            wrappers=(WrapperSpec("FlowFace", "milepost.envs.flow:FlowFace", {}),),
        ),
    ]
    real = "Real TextWorld games through the Z-machine: a challenge by name, or a game file"
    many = _encode(max_actions=64)
    rows += [
        Entry("milepost/TextWorld-v0", _TEXTWORLD, real, requires="textworld"),
        Entry(
            "milepost/TextWorld-encoded-v0",
            _TEXTWORLD,
            f"{real}; numbers in and out",
            wrappers=(many,),
            requires="textworld",
        ),
    ]
    hack = "MiniHack's levels by name"
    rows += [
        Entry("milepost/MiniHack-v0", _MINIHACK, f"{hack}, in words", requires="minihack"),
        Entry(
            "milepost/MiniHack-encoded-v0",
            _MINIHACK,
            f"{hack}: the words as numbers",
            wrappers=(_encode(max_actions=64),),
            requires="minihack",
        ),
        Entry(
            "milepost/MiniHack-glyphs-v0",
            _MINIHACK,
            f"{hack}: NetHack's glyphs in, an index into a fixed list of words out",
            wrappers=(_glyphs(),),
            requires="minihack",
        ),
        Entry(
            "milepost/MiniHack-features-v0",
            _MINIHACK,
            f"{hack}: scaled features of the squares around the hero in, for small networks",
            wrappers=(_glyphs(keys=["features", "action_mask"]),),
            requires="minihack",
        ),
    ]
    bugs = "Repair modules into which bugs were put, in a sandbox"
    rows += [
        Entry("milepost/BugRepair-v0", _BUGREPAIR, f"{bugs}; the outcome alone is paid", requires="swe"),
        Entry(
            "milepost/BugRepair-dense-v0",
            _BUGREPAIR,
            f"{bugs}; also pays form, valid calls, the place, the first edit and tests (hackable without a gate)",
            {"weights": _DENSE, "levels": [-1.0, 0.0, 0.5, 1.0]},
            requires="swe",
        ),
        Entry(
            "milepost/BugRepair-encoded-v0",
            _BUGREPAIR,
            f"{bugs}: chooses among repairs made from the code alone; tasks with one bug that one of them undoes",
            {"bugs": 1, "listed": _ROWS, "max_steps": 36},
            (WrapperSpec("RepairRows", "milepost.envs.swe.face:RepairRows", {"candidates": _ROWS}),),
            requires="swe",
        ),
        Entry(
            "milepost/CodeFix-v0",
            _CODEFIX,
            "Repair single functions: HumanEval's problems with a bug each, or a folder in QuixBugs' format",
            requires="swe",
            setup="swe-data",
        ),
        Entry(
            "milepost/SWEBench-v0",
            _SWEBENCH,
            "SWE-bench's, SWE-Gym's and SWE-smith's instance files, by path, over local clones of their repositories",
            requires="swe",
        ),
        Entry(
            "milepost/Terminal-v0",
            _TERMINAL,
            "Small tasks in a terminal, and task directories in Harbor's and Terminal-Bench's formats",
            requires="swe",
        ),
    ]
    for name, (place, what, extra, encoded, rows_of) in _TOOLS.items():
        also = f"{what}; also pays form, valid calls, the reference's calls and items (hackable without a gate)"
        face = ("SlotRows", "slots") if "reachable" in rows_of else ("CallRows", "face")
        how = "makes calls one choice after another from" if "reachable" in rows_of else "chooses among calls made from"
        wrapper = WrapperSpec(face[0], f"milepost.envs.tools.{face[1]}:{face[0]}", rows_of)
        variants: list[tuple[str, str, dict[str, Any], tuple[WrapperSpec, ...]]] = [
            ("", what, {}, ()),
            ("-dense", also, {"weights": _CREDIT}, ()),
            ("-encoded", f"{what}; {how} the conversation alone", encoded, (wrapper,)),
        ]
        for variant, summary, kwargs, wrappers in variants:
            place_of = f"milepost.envs.tools.{place}"
            rows.append(
                Entry(f"milepost/{name}{variant}-v0", place_of, summary, dict(kwargs), wrappers, "tools", extra)
            )
    return rows


def register_all() -> None:
    """Registers every id with Gymnasium, as strings; calling it again changes nothing."""
    for row in entries():
        if row.id not in gym.registry:
            # lanes that do not wait for each other where steps are slow; Gymnasium refuses it for ids with wrappers
            slow = row.entry_point.startswith("milepost.envs.swe.") and not row.wrappers
            gym.register(
                row.id,
                row.entry_point,
                vector_entry_point=f"milepost.envs.vector:{row.id}" if slow else None,
                kwargs=dict(row.kwargs),
                additional_wrappers=row.wrappers,
            )
