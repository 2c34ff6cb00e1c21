"""A stack on a single ``gymnasium.Env``."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from ..facts import Fact
from ..shaper import Shaper
from ..stack import Lane, Stack
from ..types import Transition
from . import inner_stack, refuse_groups


class ShapedEnv(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """``shape(env, [A(...), B(...)])`` on one environment: ``A`` is nearest the environment.

    ``info["reward_terms"]`` has one float a term under constant keys, environment first, summing to the reward.
    On the last step of an episode with episode layers ``info["credit"]`` is the tuple of its T final rewards and the
    reward also pays what those layers add to the return. ``info["episode"]`` of a Monitor or
    RecordEpisodeStatistics inside gains ``env_return`` and ``shaped_return``.

    Args:
        env: any Gymnasium environment.
        shapers: shapers or their specs, from the environment outwards.
        seed: of the layers' own random streams.
        facts: info keys that the environment lacks, see ``shape``.
        groups: layers that compare episodes may stand in it, see ``shape``.

    Raises:
        ValueError: layers that cannot stand in this order, that need a group, or that an outer TimeLimit would cut off.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        shapers: Sequence[Shaper | Mapping[str, Any]],
        seed: int = 0,
        facts: Mapping[str, str | Fact] | None = None,
        groups: bool = False,
    ) -> None:
        self.stack, self.groups = Stack(shapers, seed, facts=facts, inner=inner_stack(env)), groups
        if not groups:
            refuse_groups(self.stack)
        gym.utils.RecordConstructorArgs.__init__(
            self,
            shapers=self.stack.spec(),
            seed=seed,
            facts=self.stack.fact_spec,
            groups=groups,
            _disable_deepcopy=True,
        )
        gym.Wrapper.__init__(self, env)
        self.lane = Lane()
        self._step_one = self.stack.step_one if self.stack.shapers or self.stack.facts else None
        self._checked = not (self.stack.body or self.stack.tail)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and begins an episode in every layer; layers keep their shared memory and seed."""
        if not self._checked:
            self._refuse_outer_limit()
        obs, info = self.env.reset(seed=seed, options=options)
        extra = self.stack.begin(self.lane, obs, info)
        return obs, info | extra if extra else info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps the environment; the reward is what the layers make of it."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        reward = float(reward)
        terms = info.get("reward_terms")
        terms = dict(terms) if terms else {"env": reward}
        if self._step_one is None:  # an empty stack only keeps the account
            return obs, reward, terminated, truncated, info | {"reward_terms": terms}
        lane = self.lane
        reward, extra = self._step_one(
            lane, Transition(lane.obs, action, reward, obs, terminated, truncated, info, terms)
        )
        return obs, reward, terminated, truncated, info | extra

    def close(self) -> None:
        """Closes the environment and what the layers hold open."""
        super().close()
        self.stack.release()

    def snapshot(self) -> dict[str, Any]:
        """The environment's own snapshot and the running episode of the layers; not their shared memory."""
        lane = {k: getattr(self.lane, k) for k in ("obs", "record", "returns", "states", "walked")}
        return {"inner": self.env.get_wrapper_attr("snapshot")(), "lane": copy.deepcopy(lane)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it: the same actions then give the same observations and rewards."""
        self.env.get_wrapper_attr("restore")(snapshot["inner"])
        for k, v in copy.deepcopy(snapshot["lane"]).items():
            setattr(self.lane, k, v)

    def _refuse_outer_limit(self) -> None:
        """Looks at who called the first reset: the wrappers outside, whether made by hand or by ``register``."""
        self._checked = True
        frame = sys._getframe(2)
        while frame is not None:
            outer = frame.f_locals.get("self")
            if isinstance(outer, gym.wrappers.TimeLimit) and outer.unwrapped is self.unwrapped:
                raise ValueError(
                    f"{self.stack.names[self.stack.b]} settles when an episode ends, but a TimeLimit stands outside and "
                    "would cut episodes off unseen: put TimeLimit inside and shape(...) outside"
                )
            frame = frame.f_back  # type: ignore[assignment]
