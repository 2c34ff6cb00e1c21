"""A torch agent that reads text and scores the admissible commands; trained with PPO on whole episodes.

Policy: words, word pairs and (line, word) pairs are hashed into one embedding table that observation and commands share.
A command's score is an MLP over [observation, command, their product, how much of the command each of the first lines
has]; the policy is the softmax over the admissible commands (in the manner of DRRN, He et al. 2016, arXiv 1511.04636, with
an actor-critic loss). Loss: PPO-clip (Schulman et al. 2017, arXiv 1707.06347, eq. 9) with GAE (arXiv 1506.02438).

Rewards are what the stack pays when an episode is over (``info["credit"]``, refitted if a layer learns); advantages that a
layer gives replace GAE. For layers that compare episodes (``Grpo``, ``Rloo``) use ``group=8`` and ``shape(..., groups=True)``:
then so many lanes play each task side by side, and the lanes wait for each other, so that every batch has whole groups.
"""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from ..envs.text.base import flag
from ..envs.text.encode import overlap, words
from ..wrappers.hosts import in_groups
from ..wrappers.shaper import nearest
from ..wrappers.stack import Stack
from .agent import NO_TEXT, refuse_numbers
from .checkpoint import load_checkpoint, save_checkpoint
from .lanes import Episode, Lanes
from .text_settings import Settings

LINES = 7  # the first lines of the observation, each compared with every command
FORMAT = 1  # of the checkpoint


@functools.lru_cache(200_000)
def _tokens(line: str, vocabulary: int) -> tuple[int, ...]:
    """Hashed words, pairs, and words marked with the head of their line (``Exits: ...``)."""
    found = words(line)
    head = found[0] if found and ":" in line else ""
    named = (*found, *(f"{a} {b}" for a, b in itertools.pairwise(found)), *(f"{head}: {w}" for w in found if head))
    return tuple(zlib.crc32(t.encode()) % vocabulary for t in named) or (0,)


@functools.lru_cache(20_000)
def _read(text: str, vocabulary: int) -> tuple[int, ...]:
    return tuple(t for line in text.split("\n") for t in _tokens(line, vocabulary))


@functools.lru_cache(200_000)
def _match(command: str, text: str) -> tuple[float, ...]:
    lines = text.split("\n")[:LINES]
    out = [x for line in lines for x in overlap(command, line)]
    return tuple(out + [0.0] * (3 * LINES - len(out)))


@dataclass
class Batch:
    """States as flat tensors: bags of token ids and, for all commands of all states together, theirs."""

    text: Tensor  # (words,) int64
    text_at: Tensor  # (states,) int64, where each bag starts
    commands: Tensor  # (command words,) int64
    commands_at: Tensor  # (rows,) int64
    match: Tensor  # (rows, 3 * LINES) float32
    owner: Tensor  # (rows,) int64, the state of a row
    first: Tensor  # (states,) int64, a state's first row


class Policy(nn.Module):
    """Scores every command of every state, and values every state."""

    def __init__(self, s: Settings, device: torch.device) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(s.vocabulary, s.dim, mode="mean", device=device)
        self.score = nn.Sequential(
            nn.Linear(3 * s.dim + 3 * LINES, s.hidden, device=device), nn.Tanh(), nn.Linear(s.hidden, 1, device=device)
        )
        self.critic = nn.Sequential(
            nn.Linear(s.dim, s.hidden, device=device), nn.Tanh(), nn.Linear(s.hidden, 1, device=device)
        )

    def forward(self, b: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the rows ``(rows,)`` and values ``(states,)``."""
        text = self.words(b.text, b.text_at)
        command = self.words(b.commands, b.commands_at)
        own = text[b.owner]
        scores = self.score(torch.cat([own, command, own * command, b.match], 1)).squeeze(1)
        n = text.shape[0]
        top = torch.full((n,), -torch.inf, device=scores.device).scatter_reduce(0, b.owner, scores.detach(), "amax")
        shifted = scores - top[b.owner]
        total = torch.zeros(n, device=scores.device).index_add(0, b.owner, shifted.exp())
        return shifted - total.log()[b.owner], self.critic(text).squeeze(1)


class TextAgent:
    """Reads text, scores ``info["admissible_actions"]``; any text environment that publishes them will do.

    Args:
        seed: of weights, exploration and environments.
        device: ``auto`` takes cuda when present.
        log: folder of TensorBoard files, or None.
        progress: show a bar while learning.
        greedy: ``act`` takes the best command instead of sampling.
        **settings: fields of ``Settings``.

    Raises:
        ValueError: an unknown setting, a value that is not allowed, or a device that is not there; names it.
    """

    def __init__(
        self,
        seed: int = 0,
        device: str = "auto",
        log: str | Path | None = None,
        progress: bool = False,
        greedy: bool = False,
        **settings: Any,
    ) -> None:
        known = list(Settings.__dataclass_fields__)
        for key in settings:
            if key not in known:
                raise ValueError(
                    f"the text agent has no setting {key!r}{nearest(key, known)} It has: {', '.join(known)}"
                )
        self.settings, self.seed, self.progress = Settings(**settings), seed, progress
        self.greedy, self.device = flag("greedy", greedy), _device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(self.settings, torch.device("cpu")).to(self.device)  # the same weights on every device
        self.optimizer = torch.optim.Adam(self.policy.parameters(), self.settings.lr)
        self.rng = np.random.default_rng(seed)
        self.acting = np.random.default_rng(seed)
        self.steps = self.updates = self.invalid = 0
        self.stack_state: dict[str, Any] | None = None  # of a loaded checkpoint, for the next learn()
        self.log = log
        self._writer: Any = None

    # -- acting ----------------------------------------------------------------------------------
    def reset(self, seed: int | None = None) -> None:
        """Begins an episode; with a seed, sampled actions repeat."""
        if seed is not None:
            self.acting = np.random.default_rng(seed)

    def act(self, obs: str, info: dict[str, Any]) -> str:
        """One of the admissible commands.

        Raises:
            ValueError: the observation is no text, or ``info`` has no ``admissible_actions``.
        """
        return self.acts([obs], [info])[0]

    @torch.no_grad()
    def acts(self, observations: Sequence[str], infos: Sequence[dict[str, Any]]) -> list[str]:
        """``act`` for several environments in one pass."""
        _need_text(observations, infos)
        states = [(o, tuple(i["admissible_actions"]) or ("look",)) for o, i in zip(observations, infos)]
        b = self.batch(states)
        p = self.policy(b)[0].exp().cpu().double().numpy()
        first, out = b.first.cpu().numpy(), []
        for k, (_, choices) in enumerate(states):
            mine = p[first[k] : first[k] + len(choices)]
            out.append(choices[int(mine.argmax()) if self.greedy else _sample(mine, self.acting)])
        return out

    def batch(self, states: Sequence[tuple[str, tuple[str, ...]]]) -> Batch:
        """Texts and their admissible commands as tensors on the agent's device."""
        v = self.settings.vocabulary
        text = [_read(t, v) for t, _ in states]
        rows = [(c, t) for t, cs in states for c in cs]
        commands = [_tokens(c, v) for c, _ in rows]
        counts = [len(cs) for _, cs in states]

        def ints(x: Any) -> Tensor:
            return torch.as_tensor(np.asarray(x, np.int64), device=self.device)

        def starts(bags: Sequence[Sequence[int]] | Sequence[int]) -> Tensor:
            sizes = [x if isinstance(x, int) else len(x) for x in bags]
            return ints(np.cumsum([0, *sizes[:-1]]))

        return Batch(
            ints(list(itertools.chain.from_iterable(text))),
            starts(text),
            ints(list(itertools.chain.from_iterable(commands))),
            starts(commands),
            torch.as_tensor(np.array([_match(c, t) for c, t in rows], np.float32), device=self.device),
            ints(np.repeat(np.arange(len(states)), counts)),
            starts(counts),
        )

    # -- learning --------------------------------------------------------------------------------
    def learn(
        self, env: gym.Env[Any, Any], steps: int, callback: Callable[[dict[str, float]], None] | None = None
    ) -> list[dict[str, float]]:
        """Trains for at least ``steps`` environment steps; returns the metrics of each update.

        Episodes that are running when ``steps`` are over are played to their ends and learnt from too, so that no step is
        paid for and then thrown away; ``self.steps`` counts them. (What has not ended after 1,000 more is given up.)

        Args:
            env: a text environment made by ``gym.make``, shaped or not.
            steps: environment steps of all lanes together.
            callback: called with the metrics after each update.

        Raises:
            ValueError: the observations are no text or come without admissible actions, or the environment cannot be
                copied; said before the first step.
        """
        s = self.settings
        refuse_numbers(env)
        lanes = Lanes(env, s.lanes, self._seed(), s.group)
        try:
            if s.group == 1 and (of_groups := in_groups(lanes.stack)):
                raise ValueError(
                    f"{', '.join(of_groups)}: compares the episodes of a group, and the text agent plays none: give it group=8"
                )
            _need_text(lanes.obs, lanes.infos)
            if self.stack_state is not None:
                lanes.stack.load_state_dict(self.stack_state)
                self.stack_state = None
        except ValueError:
            lanes.close()
            raise
        lanes.stack.check_discount(s.gamma)
        lanes.stack.take()  # episodes of an earlier call are not ours
        goal, history, done = self.steps + steps, list[dict[str, float]](), list[Episode]()
        bar = _bar(steps, self.progress)

        def update() -> None:
            metrics = self._update(lanes.stack, done)
            done.clear()
            history.append(metrics)
            bar.set_postfix_str(f"success {metrics['success']:.2f}")
            self._write(metrics)
            if callback is not None:
                callback(metrics)

        try:
            while len(lanes) and self.steps < goal + 1000 * s.lanes:
                bar.update(len(lanes))
                self.steps += len(lanes)
                done += self._collect(lanes, self.steps < goal and s.group == 1)
                whole = s.group == 1 or not len(lanes)
                if whole and self.steps < goal and sum(len(e.rewards) for e in done) >= s.batch_steps:
                    update()
                if s.group > 1 and whole and self.steps < goal:
                    lanes.begin(self._seed())
            if done:  # all that is left in one batch: a handful of steps would be an update of mere noise
                update()
        finally:
            bar.close()
            lanes.close()
            self._stack = lanes.stack
            if self._writer is not None:
                self._writer.flush()  # it stays open: the next call goes on in the same file
        return history

    def _seed(self) -> int:
        return int(self.rng.integers(2**31 - self.settings.lanes))

    @torch.no_grad()
    def _collect(self, lanes: Lanes, again: bool = True) -> list[Episode]:
        """One step of every lane that is running."""
        states = [(o, tuple(i["admissible_actions"])) for o, i in zip(lanes.obs, lanes.infos)]
        b = self.batch(states)
        logp, value = self.policy(b)
        logp, value = logp.cpu().double().numpy(), value.cpu().numpy()
        first = b.first.cpu().numpy()
        actions, extras = [], []
        for k, (text, choices) in enumerate(states):
            mine = logp[first[k] : first[k] + len(choices)]
            j = _sample(np.exp(mine), self.rng)
            actions.append(choices[j])
            extras.append((text, choices, j, float(mine[j]), float(value[k])))
        return lanes.step(actions, extras, again)

    def _update(self, stack: Stack, episodes: list[Episode]) -> dict[str, float]:
        """PPO on finished episodes."""
        s, metrics = self.settings, dict[str, float]()
        valid = [not e.invalid for e in episodes]  # nobody learns from what the infrastructure ended, no layer either
        self.invalid += len(episodes) - sum(valid)
        trajs = list(itertools.compress(stack.take(), valid)) if stack.keep else []
        episodes = list(itertools.compress(episodes, valid))
        rewards = [e.rewards for e in episodes]
        given: list[Any] = [None] * len(episodes)
        if trajs:  # the stack's own record of the same episodes; some layers ask how likely the actions were
            if len(trajs) != len(episodes):
                raise ValueError(
                    f"batch_steps is {s.batch_steps}, and the stack kept {len(trajs)} of {len(episodes)} episodes, for it "
                    f"keeps {stack.keep} steps: take smaller batches"
                )
            trajs = [replace(t, meta=t.meta | {"logp": _logp(e)}) for t, e in zip(trajs, episodes)]
        if stack.learns and trajs:
            metrics |= stack.learn(trajs)
            trajs = stack.rerun(trajs, stack.c)
            rewards = [t.rewards for t in trajs]
        if stack.tail and trajs:
            trajs = stack.run(trajs, stack.c)
            rewards, given = [t.rewards for t in trajs], [t.advantages for t in trajs]
        metrics |= self._statistics(episodes, rewards)
        if not episodes:
            return metrics
        rows = [x for e in episodes for x in e.extras]
        pairs = [self._advantages(*x) for x in zip(episodes, rewards, given)]
        adv, ret = (np.concatenate(x) for x in zip(*pairs))
        usable = np.flatnonzero(~np.isnan(adv))
        if not len(usable):  # a judge that is down leaves every step out
            return metrics
        losses = []
        for _ in range(s.epochs):
            order = self.rng.permutation(usable)
            for part in np.array_split(order, max(1, len(order) // s.minibatch)):
                loss = self.loss([rows[i] for i in part], adv[part], ret[part])
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.policy.parameters(), s.grad_norm)
                self.optimizer.step()
                losses.append(float(loss.detach()))
        self.updates += 1
        return metrics | {"loss": float(np.mean(losses)), "steps": float(self.steps), "invalid": float(self.invalid)}

    def loss(self, rows: Sequence[Any], advantages: Any, returns: Any) -> Tensor:
        """PPO's loss on steps ``(text, choices, index, log-probability, value)``; advantages are normalised here."""
        s = self.settings
        b = self.batch([(r[0], r[1]) for r in rows])
        logp, value = self.policy(b)

        def floats(x: Any) -> Tensor:
            return torch.as_tensor(np.asarray(x, np.float32), device=self.device)

        adv = floats(advantages)
        adv = (adv - adv.mean()) / (adv.std(correction=0) + 1e-6)
        taken = b.first + torch.as_tensor(np.array([r[2] for r in rows], np.int64), device=self.device)
        ratio = (logp[taken] - floats([r[3] for r in rows])).exp()
        gain = torch.minimum(ratio * adv, ratio.clamp(1 - s.clip, 1 + s.clip) * adv).mean()
        entropy = -(logp.exp() * logp).sum() / len(rows)
        fit = (value - floats(returns)).square().mean()
        total: Tensor = -gain + s.value * fit - s.entropy * entropy
        return total

    @torch.no_grad()
    def _advantages(self, e: Episode, rewards: Any, given: Any) -> tuple[Any, Any]:
        """GAE and value targets of one episode, or the advantages that a tail gave."""
        s, v = self.settings, np.array([x[4] for x in e.extras])
        after = 0.0
        if not e.terminated:  # cut off: the state goes on
            choices = tuple(e.last_info.get("admissible_actions") or ("look",))
            after = float(self.policy(self.batch([(e.last_obs, choices)]))[1][0])
        delta = rewards + s.gamma * np.append(v[1:], after) - v
        adv, run = np.zeros(len(v)), 0.0
        for k in range(len(v) - 1, -1, -1):
            adv[k] = run = delta[k] + s.gamma * s.lam * run
        return (adv if given is None else given), adv + v

    @staticmethod
    def _statistics(episodes: Sequence[Episode], rewards: Sequence[Any]) -> dict[str, float]:
        if not episodes:
            return {"success": 0.0, "episodes": 0.0}
        terms = {k for e in episodes for k in e.terms}
        return {
            "success": float(np.mean([e.success for e in episodes])),
            "env_return": float(np.mean([e.env_return for e in episodes])),
            "shaped_return": float(np.mean([r.sum() for r in rewards])),
            "length": float(np.mean([len(r) for r in rewards])),
            "episodes": float(len(episodes)),
        } | {f"reward_terms/{k}": float(np.mean([e.terms.get(k, 0.0) for e in episodes])) for k in sorted(terms)}

    def _write(self, metrics: dict[str, float]) -> None:
        if self.log is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.log))
        for k, v in metrics.items():
            self._writer.add_scalar(k, v, self.steps)

    # -- checkpoints -----------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Policy, optimiser, random states, the stack's memory, settings and versions in one file."""
        stack: Stack | None = getattr(self, "_stack", None)
        save_checkpoint(
            path,
            "text",
            {
                "format": FORMAT,
                "settings": asdict(self.settings),
                "seed": self.seed,
                "greedy": self.greedy,
                "policy": self.policy.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rng": self.rng.bit_generator.state,
                "counts": [self.steps, self.updates, self.invalid],
                "stack": self.stack_state if stack is None else stack.state_dict(),
                "stack_spec": None if stack is None else stack.spec(),
            },
        )

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", **kwargs: Any) -> TextAgent:
        """An agent that acts and goes on learning exactly as the saved one would have (cuda: but for the order of sums).

        Raises:
            ValueError: no checkpoint of a text agent, or of another format.
        """
        state = load_checkpoint(path, "text")
        if state["format"] != FORMAT:
            raise ValueError(f"{path} has checkpoint format {state['format']}, this version reads {FORMAT}")
        agent = cls(state["seed"], device, greedy=state["greedy"], **kwargs, **state["settings"])
        agent.policy.load_state_dict(state["policy"])
        agent.optimizer.load_state_dict(state["optimizer"])
        agent.rng.bit_generator.state = state["rng"]
        agent.steps, agent.updates, agent.invalid = state["counts"]
        agent.stack_state = state["stack"]
        return agent


def _device(name: str) -> torch.device:
    """``auto``: cuda when present."""
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
        torch.empty(0, device=device)  # a device may have a name here and still not be there
    except (RuntimeError, AssertionError, TypeError) as e:
        raise ValueError(f"device is {name!r}; allowed: auto, cpu, or one that torch finds here, such as cuda") from e
    return device


def _need_text(observations: Sequence[Any], infos: Sequence[dict[str, Any]]) -> None:
    for obs, info in zip(observations, infos):
        if not isinstance(obs, str) or "admissible_actions" not in info:
            what = "publishes none" if isinstance(obs, str) else f"shows {type(obs).__name__}"
            raise ValueError(NO_TEXT.format(what))


def _logp(e: Episode) -> Any:
    return np.array([x[3] for x in e.extras])


def _sample(p: Any, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(np.cumsum(p), rng.random() * p.sum(), side="right")), len(p) - 1)


class _Quiet:
    def update(self, n: int) -> None:
        pass

    def set_postfix_str(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def _bar(steps: int, show: bool) -> Any:
    if not show:
        return _Quiet()
    from tqdm import tqdm

    return tqdm(total=steps, unit="step", dynamic_ncols=True)
