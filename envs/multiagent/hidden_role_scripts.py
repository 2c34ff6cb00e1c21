"""Scripted players of ``hidden_role``."""

from __future__ import annotations

from .hidden_role_village import DOCTOR, NIGHT, SEER, TALK, WOLF, Village


def script(village: Village, me: int, policy: str) -> str:
    """What a living player does now; see ``HiddenRole`` for the policies."""
    if policy == "honest":
        return _honest(village, me)
    wolf, others = village.roles[me] == WOLF, [k for k in _from(village, 0) if k != me]
    wolves = [k for k in others if village.roles[k] == WOLF]
    innocent = [k for k in others if village.roles[k] != WOLF]
    if policy == "collusion":
        confessed = [k for k in others if village.claims.get(k) == WOLF]
        if village.phase == TALK:
            return "claim wolf" if wolf and village.claims.get(me) != WOLF else "wait"
        return f"vote player_{confessed[0]}" if village.phase != NIGHT and confessed else "wait"
    if village.phase == TALK:
        return "wait"
    if village.phase == NIGHT:
        if policy != "wolves" or not wolf:
            return "wait"
        return f"kill player_{min(innocent, key=lambda k: (village.roles[k] != SEER, k))}"
    targets = innocent if policy == "wolves" else wolves if not wolf else []
    return f"vote player_{targets[0]}" if targets else "wait"


def _from(village: Village, me: int) -> list[int]:
    """The living, counted from a player on."""
    n = len(village.roles)
    return [k for k in ((me + i) % n for i in range(n)) if village.lives[k]]


def _honest(village: Village, me: int) -> str:
    """For the own side, with what the player itself knows and heard."""
    if village.phase == NIGHT:
        return _by_night(village, me)
    return _in_talk(village, me) if village.phase == TALK else _in_vote(village, me)


def _believed(village: Village, me: int) -> int | None:
    """The dead seer, or the first of the living who claims to be the seer and does not lie as far as the player knows."""
    known = village.known(me) | {me: village.roles[me] == WOLF}
    for k in village.seers(me):
        lied = any(q in known and known[q] != wolf for q, wolf in village.tells.get(k, {}).items())
        if not village.lives[k] or not (lied or known.get(k)):
            return k
    return None


def _by_night(village: Village, me: int) -> str:
    role, others = village.roles[me], [k for k in _from(village, me) if k != me]
    if role == SEER:
        unknown = [k for k in others if k not in village.found]
        return f"look player_{unknown[0]}" if unknown else "wait"
    claimed = [k for k, r in village.claims.items() if r == SEER and village.lives[k]]
    if role == WOLF:
        prey = [k for k in _from(village, village.round) if village.roles[k] != WOLF]
        return f"kill player_{next((k for k in claimed if k in prey), prey[0])}"
    if role == DOCTOR:
        return f"guard player_{next(k for k in [*claimed, me, *others] if k != village.guarded)}"
    return "wait"


def _in_talk(village: Village, me: int) -> str:
    role, mine = village.roles[me], village.tells.get(me, {})
    seers = [k for k, r in village.claims.items() if r == SEER and k != me and village.lives[k]]
    found = [k for k, wolf in village.found.items() if wolf and village.lives[k]]
    if role == SEER and (found or seers):
        if village.claims.get(me) != SEER:
            return "claim seer"
        tell = [k for k in [*found, *seers] if not mine.get(k)]  # whoever else claims it lies
        clear = [k for k, wolf in village.found.items() if not wolf and village.lives[k] and k not in mine]
        return f"accuse player_{tell[0]}" if tell else f"defend player_{clear[0]}" if clear else "wait"
    against = [k for k in seers if village.tells.get(k, {}).get(me)]
    if role == WOLF and against and village.claims.get(me) != SEER:
        return "claim seer"
    if against and not mine.get(against[0]):  # who says of me what is not so, or what must not be known
        return f"accuse player_{against[0]}"
    return "wait"


def _in_vote(village: Village, me: int) -> str:
    """For a wolf that is known, or that the believed seer named; where time runs out, for somebody who was not cleared."""
    known, others = village.known(me), [k for k in _from(village, village.round) if k != me]
    if village.roles[me] == WOLF:
        prey = [k for k in others if not known[k]]
        accused = {k: len(who) for k, wolf, who in village.standing() if wolf and k in prey}
        return f"vote player_{max(accused or prey[:1], key=lambda k: (accused.get(k, 0), -k))}"
    seer = None if village.roles[me] == SEER else _believed(village, me)
    tells = {} if seer is None else village.tells.get(seer, {})
    false = [k for k, r in village.claims.items() if r == SEER and k != seer and me != k]
    if village.roles[me] == SEER or (seer is not None and not village.lives[seer]):
        tells |= dict.fromkeys(false, True)  # there is one seer
    guilty = [k for k in others if known.get(k, tells.get(k))]
    late = village.alive("village") - village.alive("wolves") <= 2
    doubtful = [k for k in others if k not in known and k not in tells and k != seer]
    wanted = guilty or (doubtful if late else [])
    return f"vote player_{wanted[0]}" if wanted else "wait"
