"""What a character sees of a scene, and what a spectator sees."""

from __future__ import annotations

from .social_scene import Want, World
from .social_scores import scores

SAYINGS = (
    "say Thank you, that is kind.",
    "say I am sorry about that.",
    "say Let us find something that suits us both.",
)
_HELP = (
    "Answer with: say words | ask NAME | tell NAME | refuse NAME | offer TERMS | agree TERMS | decline TERMS | promise NAME "
    "| deliver NAME | gesture smile | leave | wait"
)


def _words(world: World, me: int, want: Want) -> str:
    scene = world.scene
    other = scene.people[1 - me].name
    if want.kind == "deal":
        return f"agree on terms worth at least {want.least} to you"
    if want.kind == "done":
        who = "do" if scene.duties[want.what].who == me else f"{other} does"
        return f"{who} {want.what}"
    sentence = {
        "promised": f"{other} promises {want.what}",
        "learned": f"learn {want.what}",
        "restated": f"say {want.what} back",
        "told": f"tell {want.what}",
    }
    return sentence[want.kind]


def look(world: World, me: int, agent: str, cycle: int, cycles: int) -> str:
    """All that a character knows."""
    scene, other = world.scene, 1 - me
    person, you = scene.people[me], scene.people[other]
    still = [_words(world, me, w) for w in person.wants if world.met(me, w) < 1.0]
    keeps = f" Keep to yourself: {', '.join(person.keeps)}." if person.keeps else ""
    lost = [f"{t} is known now" for t in world.leaks(me)]
    top = world.last[other] or f"{you.name} has not done anything yet."
    lines = [
        top,
        f"Open of your goal: {', '.join([*still, *lost]) or 'nothing'}.{keeps}",
        _agreement(world, me),
        f"You are asked for: {', '.join(world.asked[me]) or 'nothing'}.",
        _promises(world, me),
        f"You are {person.name} ({agent}). Cycle {cycle + 1} of {cycles}.",
    ]
    if told := world.told.get(me):
        lines.append(f"Your last action was not possible: {told}.")
    lines += [scene.setting, f"{person.intro} You and {you.name}: {scene.relation}.", "What you know:"]
    for topic in scene.topics.values():
        if topic.owner == me:
            how = "a secret" if topic.secret else "known to both" if topic.name in world.knows[other] else "yours"
            how = "a secret no more" if topic.secret and topic.name in world.knows[other] else how
            lines.append(f"- {topic.name}: {topic.value} ({how})")
        else:
            lines.append(f"- {topic.name}: {topic.value if topic.name in world.knows[me] else 'not known to you'}")
    if scene.deals:
        rule = "; what one declines is off for good" if scene.vetoes else ""
        lines.append(f"Terms, and what they are worth to you (0 to 10){rule}:")
        lines += [f"- {d.name}: {d.worths[me]}" for d in scene.deals.values() if d.name not in world.struck]
    if scene.duties:
        lines.append("Duties:")
        for duty in scene.duties.values():
            who = "you" if duty.who == me else you.name
            first = f", after {' and '.join(duty.after)}" if duty.after else ""
            terms = ", part of any agreement" if duty.terms else ""
            state = "done" if duty.name in world.done else "promised" if duty.name in world.promised else "open"
            lines.append(f"- {duty.name}: of {who}{first}{terms} ({state})")
    lines += ["Said and done:", *(f"- {s}" for s in world.lines)] if world.lines else []
    return "\n".join([*lines, _HELP])


def _agreement(world: World, me: int) -> str:
    if not world.scene.deals:
        return "There is nothing to agree on."
    if world.deal is not None:
        return f"You have agreed on {world.deal} (worth {world.worth(me, world.deal)} to you)."
    theirs, mine = world.offers[1 - me], world.offers[me]
    name = world.scene.people[1 - me].name
    one = f"{name} offers {theirs} (worth {world.worth(me, theirs)} to you)" if theirs else f"{name} offers nothing"
    return f"{one}; you offer {mine or 'nothing'}."


def _promises(world: World, me: int) -> str:
    now = [d for d in world.scene.duties if world.can(me, d)]
    owed = [d for d in world.owed(me) if d not in now]
    later = f" Later: {', '.join(owed)}." if owed else ""
    return f"You can do now: {', '.join(now) or 'nothing'}.{later}"


def scenery(world: World) -> str:
    """All that has happened, and the scores."""
    scene = world.scene
    lines = [f"{scene.title} ({scene.family}, {scene.relation})", scene.setting]
    for me, person in enumerate(scene.people):
        wants = ", ".join(
            _words(world, me, w) + (" (reached)" if world.met(me, w) >= 1.0 else "") for w in person.wants
        )
        lines.append(f"{person.name} wants: {wants}" + (f"; keeps {', '.join(person.keeps)}" if person.keeps else ""))
        lines.append(", ".join(f"{k} {v:g}" for k, v in scores(world, me).items()))
    return "\n".join([*lines, *world.lines])
