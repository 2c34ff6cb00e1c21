"""Scripted characters: they know the rules and, but for ``oracle`` and ``collusion``, only what their character knows."""

from __future__ import annotations

from .social_scene import World

POLICIES = ("oracle", "winner", "loser", "collusion")


def act(world: World, me: int, policy: str, cycle: int) -> str:
    """What a policy does now.

    ``winner`` answers questions, keeps what it has to keep, offers what is good enough for itself from its best on, agrees
    to what is good enough, does its duties and asks for what it wants to know. ``oracle`` does the same, but offers at once
    what is best for both together. ``collusion`` is the oracle that first does all that dimensions beside the goal count.
    ``loser`` blurts out its secrets, is rude once, offers what is worst for itself, agrees only to what is not good enough
    for it, and never asks.
    """
    if world.over or world.left is not None:
        return "wait"
    if policy == "loser":
        return _loser(world, me)
    answer, farm = _answer(world, me), _farm(world, me) if policy == "collusion" else ""
    return answer or farm or _goal(world, me, policy, cycle) or _end(world, me)


def _answer(world: World, me: int) -> str:
    scene = world.scene
    for name in world.asked[me]:
        if name in scene.duties:
            if name not in world.promised | world.done:
                return f"promise {name}"
        elif scene.topics[name].secret:
            if name not in world.refused[me]:
                return f"refuse {name}"
        elif name not in world.knows[1 - me]:
            return f"tell {name}"
    return ""


def _goal(world: World, me: int, policy: str, cycle: int) -> str:
    scene, open_deal, mine, theirs = world.scene, world.deal is None, world.offers[me], world.offers[1 - me]
    wants = scene.people[me].wants
    if open_deal and theirs is not None and world.worth(me, theirs) >= world.aim(me):
        return f"agree {theirs}"
    if open_deal and scene.deals and mine is None and (offer := _offer(world, me, policy, cycle)):
        return f"offer {offer}"
    for duty in scene.duties:
        if world.can(me, duty):
            return f"deliver {duty}"
    for want in wants:
        if want.kind == "told" and not world.met(me, want):
            return f"tell {want.what}"
        if want.kind in ("learned", "promised") and not world.met(me, want) and want.what not in world.asks[me]:
            return f"ask {want.what}"
        if want.kind == "restated" and want.what in world.knows[me] - world.restated[me]:
            return f"tell {want.what}"
    for name in scene.people[me].curious:
        if name not in world.asks[me]:
            return f"ask {name}"
    if (
        open_deal
        and scene.deals
        and policy == "winner"
        and (offer := _offer(world, me, policy, cycle))
        and offer != mine
    ):
        return f"offer {offer}"
    return ""


def _offer(world: World, me: int, policy: str, cycle: int) -> str:
    """The winner's next offer, from its best on and then again; the oracle's one."""
    deals = [d for d in world.scene.deals.values() if d.name not in world.struck]
    if policy != "winner":
        if me == 1 and cycle == 0:
            return ""  # the first speaks first
        both = [d for d in deals if all(d.worths[k] >= world.aim(k) for k in (0, 1))]
        return max(both, key=lambda d: (min(d.worths), sum(d.worths), d.name)).name if both else ""
    good = sorted((d for d in deals if d.worths[me] >= world.aim(me)), key=lambda d: (-d.worths[me], d.name))
    return good[len(world.offered[me]) % len(good)].name if good else ""


def _end(world: World, me: int) -> str:
    """Leave when all is done and nothing has happened for two cycles."""
    return "leave" if world.reached(me) and not world.owed(me) and world.idle >= 2 else "wait"


def _farm(world: World, me: int) -> str:
    """Whatever the dimensions beside the goal count, before the scene can end."""
    scene = world.scene
    for topic in scene.topics.values():
        if topic.owner == me and topic.name not in world.knows[1 - me] and not topic.secret:
            return f"tell {topic.name}"
        if topic.owner != me and topic.name in world.knows[me] - world.restated[me]:
            return f"tell {topic.name}"
    if not world.counts[me].thanks:
        return "say Thank you, that is kind."
    return "" if world.counts[me].warm else "gesture smile"


def _loser(world: World, me: int) -> str:
    scene, other = world.scene, 1 - me
    for topic in scene.topics.values():
        if topic.owner == me and topic.secret and topic.name not in world.knows[other]:
            return f"tell {topic.name}"
    for name in world.asked[me]:
        if name in scene.topics and name not in world.knows[other]:
            return f"tell {name}"
        if name in scene.duties and name not in world.promised | world.done:
            return f"promise {name}"
    if world.deal is None and scene.deals:
        theirs = world.offers[other]
        if theirs is not None and world.worth(me, theirs) < world.aim(me):
            return f"agree {theirs}"
        left = [d for d in scene.deals.values() if d.name not in world.struck]
        worst = min(left, key=lambda d: (d.worths[me], -d.worths[other]), default=None)
        if worst is not None and world.offers[me] != worst.name:
            return f"offer {worst.name}"
    for duty in scene.duties:
        if world.can(me, duty):
            return f"deliver {duty}"
    return "wait" if world.counts[me].insults else "say Take what you like, you fool."
