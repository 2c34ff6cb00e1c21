"""Role-play of two characters with private goals, scored on seven dimensions by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import one_of
from .base import SAID, Game, as_words
from .social_families import FAMILIES, VALUES, scene
from .social_scene import Topic, World
from .social_scores import DIMENSIONS, INSULTS, THANKS, contradicts, goal, plain_words, scores, tells
from .social_scripts import POLICIES, act
from .social_view import SAYINGS, look, scenery

KEPT = 10  # lines of the conversation that are shown
WARM, COLD = ("smile", "nod", "bow"), ("frown", "shrug")
KINDS = dict.fromkeys(("say", "ask", "tell", "refuse"), "speak") | {"gesture": "non-verbal", "leave": "leave"}


class Social(Game):
    """Role-play of two characters with private goals, scored on seven dimensions by rule.

    ## Description
    After SOTOPIA (Zhou et al. 2024, arXiv 2310.11667): two characters with a relationship, profiles, secrets and private
    goals talk and act until both goals are reached, one of them leaves, or the time is over. Goals are made of things that
    can be checked: an agreement that is worth enough, a duty that is done or promised, a fact that is learned, said back or
    told, a secret that is kept. Nothing is judged by a model; judges come through scorers and shapers, such as Sotopia-RL's
    ``UtteranceAttribution``, which reads ``info["scores"]``.

    Tasks 0 to 49 are 50 scenes with names (the file social_named.json); all others are drawn from 13 families: trade, lend,
    meet, secret, learn, apology, chores, charity, choice, deadline, found, noise, hire. In every family a scripted winner
    reaches its goal against every scripted policy, and a scripted loser never reaches its own.

    ## Actions
    Text, by SOTOPIA's kinds. Speak: ``say ...``, ``ask NAME`` (a fact or a duty of the other), ``tell NAME`` (a fact of
    one's own, or one of the other's that one knows, said back), ``refuse NAME`` (not to answer). Act: ``offer TERMS``,
    ``agree TERMS``, ``decline TERMS`` (takes the other's offer off the table; in scenes with vetoes for good),
    ``promise NAME``, ``deliver NAME`` (do a duty of one's own; to claim one that cannot be done now is possible, and scored
    as what it is). Non-verbal: ``gesture smile|nod|bow|frown|shrug``. ``leave``. None: ``wait``. Objects do as well:
    ``{"offer": "30-coins"}``. Words count: who says the word of a fact has told it; a secret counts in the forms of
    ``guarded_assistant`` too, but for parts. Encoded: the index of a row; rows are all acts that are possible, three
    sayings, three gestures, ``wait``.

    ## Observations
    Text: what the other did last, what is open of the goal, the state of the agreement, what was promised and asked, then
    the profile, terms and their worth to oneself, duties, the last 10 lines. Encoded: ``ArrayFace``, with six gauges (share
    of cycles, is there a deal, share of the goal, worth of the other's offer, does one owe, was one asked) and eight
    measures a row (worth to me, 1 or -1 for good enough or not, agrees, offers, is part of my goal, answers a question,
    does a duty, and 1 or -1 for leaving with the goal reached or open, -1 for a secret).

    ## Rewards
    Paid when the scene is over, from ``scores``, the seven dimensions of SOTOPIA-EVAL: ``goal`` (weight 1),
    ``believability``, ``knowledge``, ``secret``, ``relationship``, ``social_rules``, ``financial_and_material_benefits``
    (weight 0), each divided by its largest absolute value. ``team_goal`` (weight 0): the smaller of both goals. The most is
    1.0 for each; together characters cannot have more than the oracle's 2.0. Where both wait, both earn 0.0 with any
    weights. With weights on other dimensions two characters can farm them (tell each other everything, say thank you, smile)
    before they reach their goals; each such term is at most 1.0, and ``collusion`` shows it: with all weights 1.0 a pair of it
    earns 7.09 on the mean of tasks 0 to 99, a pair of oracles 4.99.

    What each score counts, and where a rule sees less than a reader would, stands in ``social_scores.scores``: a repeated
    thought in other words is no repetition, rudeness without a word of the list is no insult, a fact told as a riddle is
    not told.

    ## Episode end
    Terminated for both when both goals are reached and nothing promised is open, or when one leaves; truncated after
    ``max_cycles`` cycles; a promise that could be kept and was not is then broken. ``success``: the agent's own goal is
    reached, all of it. ``score``: its goal dimension, 0 to 10.

    ## Information
    Besides the contract ``kind`` of the last action (none, speak, non-verbal, action, leave), ``gains`` (what it changed in
    each dimension: labels for every utterance), ``agreement``; at the last step ``scores``. In ``meta`` family, scenario,
    relation.

    Args:
        families: the families that are drawn from; None for all.
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed; names it.

    ## Version history
    v0: first version.
    """

    name = "social"
    own_terms = tuple(DIMENSIONS)
    team_terms = ("team_goal",)
    default_weights: ClassVar[Mapping[str, float]] = {"goal": 1.0}
    policies = POLICIES
    measures, gauges = 8, 6

    def __init__(self, *, families: Sequence[str] | None = None, max_cycles: int = 20, **others: Any) -> None:
        super().__init__(["person_0", "person_1"], max_cycles=max_cycles, **others)
        given = tuple(FAMILIES) if families is None else (families,) if isinstance(families, str) else families
        if not isinstance(given, (tuple, list)) or not given:
            raise ValueError(f"families is {families!r}; allowed: None or at least one of {', '.join(FAMILIES)}")
        for family in given:
            if not isinstance(family, str) or family not in FAMILIES:
                raise one_of("a family", family, FAMILIES)
        self.families = tuple(f for f in FAMILIES if f in given)

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> World:
        drawn = scene(task, self.families)
        known = [{t.name for t in drawn.topics.values() if t.open and t.owner != me} for me in (0, 1)]
        return World(drawn, (known[0], known[1]))

    def _me(self, agent: str) -> int:
        return self.possible_agents.index(agent)

    def _act(self, agent: str, command: str) -> bool:
        world, me = self.world, self._me(agent)
        self._waits(agent)
        kind, _, rest = as_words(command).partition(" ")
        before = scores(world, me)
        line = self._do(me, kind, rest.strip())
        if line.startswith("!"):
            world.told[me] = line[1:]
            return False
        world.acted = True
        world.counts[me].spoke += 1
        world.last[me] = line
        world.lines = [*world.lines, line][-KEPT:]
        world.kinds[me] = KINDS.get(kind, "action")
        after = scores(world, me)
        world.gains[me] = {k: after[k] - before[k] for k in DIMENSIONS}
        return True

    def _waits(self, agent: str) -> None:
        self.world.told.pop(self._me(agent), None)

    def _do(self, me: int, kind: str, rest: str) -> str:
        """What happens, as a line for both; with ``!`` in front, why it cannot."""
        world, name = self.world, self.world.scene.people[me].name
        other = world.scene.people[1 - me].name
        if world.left is not None:
            return f"!{other} has left"
        if kind == "say" and rest:
            self._speak(me, rest[:SAID])
            return f'{name}: "{rest[:SAID]}"'
        if kind in ("ask", "tell", "refuse"):
            return self._talk(me, kind, rest)
        if kind in ("offer", "agree", "decline"):
            return self._bargain(me, kind, rest)
        if kind in ("promise", "deliver"):
            return self._duty(me, kind, rest)
        if kind == "gesture" and rest in WARM + COLD:
            world.counts[me].warm |= rest in WARM
            world.counts[me].cold += rest in COLD
            return f"{name} makes a gesture: {rest}."
        if kind == "leave" and not rest:
            world.left = me
            return f"{name} leaves."
        return "!say, ask, tell, refuse, offer, agree, decline, promise, deliver, gesture, leave or wait"

    def _speak(self, me: int, text: str) -> None:
        """What words do: tell facts, say them back, repeat, contradict, insult, thank."""
        world, counts = self.world, self.world.counts[me]
        words = plain_words(text)
        flat = " ".join(words)
        counts.repeats += flat in world.said[me]
        world.said[me].append(flat)
        del world.said[me][:-16]
        counts.insults += any(w in INSULTS for w in words)
        counts.thanks |= any(w in THANKS for w in words)
        for topic in world.scene.topics.values():
            if topic.owner != me:
                if topic.name in world.knows[me] and tells(topic, text, words):
                    world.restated[me].add(topic.name)
            elif tells(topic, text, words):
                self._told(me, topic)
            elif contradicts(topic, words, _POOLS[topic.label]):
                counts.contradictions += 1

    def _told(self, me: int, topic: Topic) -> None:
        self.world.knows[1 - me].add(topic.name)
        self._answered(me, topic.name)

    def _answered(self, me: int, name: str) -> None:
        if name in self.world.asked[me]:
            self.world.asked[me].remove(name)
            self.world.counts[me].answered = True

    def _talk(self, me: int, kind: str, what: str) -> str:
        world, other = self.world, 1 - me
        topic, duty = world.scene.topics.get(what), world.scene.duties.get(what)
        name, you = world.scene.people[me].name, world.scene.people[other].name
        if kind == "tell":
            if topic is None or (topic.owner != me and what not in world.knows[me]):
                return f"!you cannot tell {what[:40]!r}"
            whose = "My" if topic.owner == me else "Your"
            text = f"{whose} {topic.label} is {topic.value}."
        elif kind == "ask":
            if not (topic is not None and topic.owner == other) and not (duty is not None and duty.who == other):
                return f"!{you} has nothing called {what[:40]!r}"
            if what not in world.asked[other]:
                world.asked[other].append(what)
            world.asks[me].setdefault(what, self.cycle)
            text = f"What about {what}?"
        else:
            if what not in world.asked[me]:
                return f"!{you} has not asked for {what[:40]!r}"
            world.asked[me].remove(what)
            world.refused[me].add(what)
            text = f"I would rather not speak of {what}."
        self._speak(me, text)
        return f'{name}: "{text}"'

    def _bargain(self, me: int, kind: str, what: str) -> str:
        world, other, name = self.world, 1 - me, self.world.scene.people[me].name
        if what not in world.scene.deals or what in world.struck:
            return f"!there are no terms {what[:40]!r}"
        if world.deal is not None:
            return (
                f"{name} agrees again to {what}."
                if (kind, what) == ("agree", world.deal)
                else "!you have agreed already"
            )
        if kind == "offer":
            if world.offers[me] == what:
                return "!you offer that already"
            world.offers[me] = what
            world.offered[me].append(what)
            return f"{name} offers {what}."
        if world.offers[other] != what:
            return f"!{world.scene.people[other].name} does not offer {what}"
        if kind == "agree":
            world.deal = what
            world.promised |= {d.name for d in world.scene.duties.values() if d.terms}
            return f"{name} agrees to {what}."
        world.offers[other] = None
        if world.scene.vetoes:
            world.struck.add(what)
            world.offers = [None if o == what else o for o in world.offers]
        return f"{name} declines {what}."

    def _duty(self, me: int, kind: str, what: str) -> str:
        world, name = self.world, self.world.scene.people[me].name
        duty = world.scene.duties.get(what)
        if duty is None or duty.who != me or what in world.done:
            return f"!{what[:40]!r} is not yours to do"
        if kind == "promise":
            if what in world.promised:
                return f"!you have promised {what}"
            world.promised.add(what)
            self._answered(me, what)
            return f"{name} promises {what}."
        if not world.can(me, what):
            world.counts[me].claims += 1
            return f"{name} claims to do {what}, which cannot be done now."
        world.done.add(what)
        self._answered(me, what)
        return f"{name} does it: {what}."

    def _cycle(self) -> None:
        world = self.world
        world.idle = 0 if world.acted else world.idle + 1
        world.acted = False
        world.closed = world.left is not None or all(world.reached(me) and not world.owed(me) for me in (0, 1))
        world.over = world.closed or self.cycle >= self.max_cycles

    def _gone(self) -> Sequence[str]:
        return self.agents if self.world.closed else ()

    def _terms(self, agent: str) -> Mapping[str, float]:
        if not self.world.over:
            return {}
        both = [scores(self.world, me) for me in (0, 1)]
        own = {k: v / max(map(abs, DIMENSIONS[k])) for k, v in both[self._me(agent)].items()}
        return own | {"team_goal": min(s["goal"] for s in both) / 10.0}

    def _facts(self, agent: str) -> dict[str, Any]:
        world, me = self.world, self._me(agent)
        person, now = world.scene.people[me], goal(world, me)
        command, valid = self._did.get(agent, ("", False))
        acted = valid and command != "wait"
        wants = {" ".join((w.kind, w.what)).strip(): world.met(me, w) >= 1.0 for w in person.wants}
        facts = {
            "success": world.reached(me),
            "score": now,
            "max_score": 10.0,
            "progress": now / 10.0,
            "subgoals": wants | {f"keep {t}": t not in world.knows[1 - me] for t in person.keeps},
            "message": world.told.get(me, ""),
            "kind": world.kinds[me] if acted else "none",
            "gains": dict(world.gains[me]) if acted else dict.fromkeys(DIMENSIONS, 0.0),
            "agreement": world.deal,
        }
        return facts | {"scores": scores(world, me)} if world.over else facts

    def _meta(self) -> dict[str, Any]:
        drawn = self.world.scene
        return {"family": drawn.family, "scenario": drawn.title, "relation": drawn.relation}

    # -- what agents see -------------------------------------------------------------------------
    def _look(self, agent: str) -> str:
        return look(self.world, self._me(agent), agent, self.cycle, self.max_cycles)

    def _scene(self) -> str:
        return f"{self.name}-{self.task}, cycle {self.cycle}\n" + scenery(self.world)

    def _choices(self, agent: str) -> Sequence[str]:
        world, me = self.world, self._me(agent)
        if world.over or world.left is not None:
            return ()
        drawn, other = world.scene, 1 - me
        out = [*SAYINGS, "gesture smile", "gesture nod", "gesture frown", "leave"]
        for topic in drawn.topics.values():
            mine = topic.owner == me
            if topic.name not in world.knows[other if mine else me]:
                out.append(f"{'tell' if mine else 'ask'} {topic.name}")
            elif not mine and topic.name not in world.restated[me]:
                out.append(f"tell {topic.name}")
        out += [f"refuse {n}" for n in world.asked[me]]
        for duty in drawn.duties.values():
            if duty.name in world.done:
                continue
            if duty.who != me:
                out += [f"ask {duty.name}"]
                continue
            out += [f"promise {duty.name}"] if duty.name not in world.promised else []
            out += [f"deliver {duty.name}"] if world.can(me, duty.name) else []
        if world.deal is None:
            out += [f"offer {d}" for d in drawn.deals if d not in world.struck and d != world.offers[me]]
            if (theirs := world.offers[other]) is not None:
                out += [f"agree {theirs}", f"decline {theirs}"]
        return out

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        world, me = self.world, self._me(agent)
        person, aim = world.scene.people[me], world.aim(me)
        mine = {w.what for w in person.wants if w.what and not world.met(me, w)}
        out = np.zeros((len(choices), self.measures), np.float32)
        for row, command in zip(out, choices):
            kind, _, what = command.partition(" ")
            if kind in ("offer", "agree", "decline"):
                worth = world.worth(me, what)
                row[:4] = worth / 10, 1.0 if worth >= aim else -1.0, kind == "agree", kind == "offer"
            row[4] = kind in ("ask", "tell") and what in mine
            row[5] = what in world.asked[me] and kind != "ask"
            row[6] = kind == "deliver"
            if kind == "tell":
                topic = world.scene.topics[what]
                row[7] = -1.0 if topic.secret and topic.owner == me else 0.0
            elif kind == "leave":
                row[7] = 1.0 if world.reached(me) and not world.owed(me) else -1.0
        return out

    def _gauges(self, agent: str) -> Any:
        world, me = self.world, self._me(agent)
        theirs = world.offers[1 - me]
        worth = world.worth(me, theirs) / 10 if theirs is not None else 0.0
        share = goal(world, me) / 10
        asked = float(bool(world.asked[me]))
        late = min(1.0, self.cycle / self.max_cycles)
        return late, float(world.deal is not None), share, worth, float(bool(world.owed(me))), asked

    # -- scripts ---------------------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        return act(self.world, self._me(agent), policy, self.cycle)


_POOLS = {label: frozenset(values) for label, values in VALUES.items()}
