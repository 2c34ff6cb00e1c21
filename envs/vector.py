"""A vector environment that hands back whichever lanes are ready, so that one slow step holds nobody up."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from .errors import InfraError, one_of
from .text.base import whole

TRIES = 3  # resets of a lane in a row that may fail
Batch = tuple[Any, Any, Any, Any, dict[str, Any]]


class _Outcome(NamedTuple):
    """What a lane did; ``infos`` in the order in which they are added."""

    obs: Any
    reward: float
    terminated: bool
    truncated: bool
    infos: tuple[dict[str, Any], ...]


class _Lane:
    """One environment and the thread that steps it: nothing of it is ever in two threads at a time."""

    def __init__(self, number: int, env: gym.Env[Any, Any], mode: AutoresetMode) -> None:
        self.number, self.env, self.mode = number, env, mode
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{number}")
        self.over = False  # its episode, and no reset since
        self.failed_resets = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> _Outcome:
        """A new episode; a sandbox that could not be started is tried again."""
        for attempt in range(1, TRIES + 1):
            try:
                obs, info = self.env.reset(seed=seed, options=None if options is None else dict(options))
                break
            except InfraError as e:
                self.failed_resets += 1
                if attempt == TRIES:
                    raise InfraError(f"lane {self.number}: {TRIES} resets in a row failed: {e}") from e
        self.over = False
        return _Outcome(obs, 0.0, False, False, (info,))

    def step(self, action: Any) -> _Outcome:
        """A step, with the reset that the mode puts in its place or behind it."""
        if self.over and self.mode is AutoresetMode.NEXT_STEP:
            return self.reset()
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.over = bool(terminated or truncated)
        if self.over and self.mode is AutoresetMode.SAME_STEP:
            fresh = self.reset()
            infos = {"final_obs": obs, "final_info": info}, *fresh.infos
            return _Outcome(fresh.obs, float(reward), terminated, truncated, infos)
        return _Outcome(obs, float(reward), terminated, truncated, (info,))


class ReadyVectorEnv(VectorEnv[Any, Any, Any]):
    """Lanes that do not wait for each other: one environment each, stepped in a thread of its own.

    ``reset`` and ``step`` give exactly what ``SyncVectorEnv`` gives, with the lanes at work at the same time. ``send``,
    ``recv`` and ``async_reset``, named as in EnvPool, do not wait for the slowest:

        envs.async_reset(seed=0)
        while True:
            obs, rewards, terminations, truncations, infos = envs.recv()  # of whoever is ready
            envs.send(policy(obs), infos["env_id"])

    Threads suit environments whose work is done by other processes, such as sandboxes; what a lane goes through does not depend
    on the order in which lanes are ready. A lost sandbox makes one episode invalid (truncated, ``infos["invalid"]``); its lane
    goes on with the next. A reset that fails is tried three times.

    Args:
        env_fns: one function a lane that makes its environment; all have the same spaces.
        autoreset_mode: as in ``SyncVectorEnv``.

    Raises:
        ValueError: no function, spaces that differ, or an unknown mode.
        InfraError: (all that resets) a lane could not begin an episode three times in a row; names it.
        Exception: (all that steps) what an environment raised, with a note that names the lane. The other lanes' results are
            not lost in ``recv``, and everything can be closed or reset.
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env[Any, Any]]],
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        super().__init__()
        self._lanes: list[_Lane] = []
        self._flying: dict[int, Future[_Outcome]] = {}  # lane -> what it is doing, or did and was not received
        self._ready: list[int] = []  # lanes in flight that are done, in the order in which they were
        self._news = threading.Condition()
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            raise one_of("autoreset_mode", autoreset_mode, [m.value for m in AutoresetMode]) from None
        if not env_fns:
            raise ValueError("env_fns is empty; allowed: at least one function")
        try:
            for i, make in enumerate(env_fns):
                self._lanes.append(_Lane(i, make(), self.autoreset_mode))
            self._spaces()
        except BaseException:
            self.close()
            raise

    def _spaces(self) -> None:
        first = self._lanes[0].env
        for lane in self._lanes:
            if (lane.env.observation_space, lane.env.action_space) != (first.observation_space, first.action_space):
                raise ValueError(f"the spaces of lane {lane.number} are not those of lane 0; allowed: the same in all")
        self.num_envs = len(self._lanes)
        self.metadata = dict(first.metadata) | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = first.render_mode
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._last: list[Any] = [None] * self.num_envs  # each lane's last observation

    # -- all lanes -------------------------------------------------------------------------------
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets all lanes, or those of ``options["reset_mask"]``, and waits for them.

        Args:
            seed: an int (lane i gets ``seed + i``), or one entry a lane.
            options: for each environment, without ``reset_mask``.

        Raises:
            ValueError: the mask or the seeds do not fit.
            AlreadyPendingCallError: one of these lanes is in flight.
        """
        options = None if options is None else dict(options)
        mask = None if options is None else options.pop("reset_mask", None)
        chosen = np.ones(self.num_envs, np.bool_) if mask is None else mask
        shape = getattr(chosen, "shape", None), getattr(chosen, "dtype", None)
        if shape != ((self.num_envs,), np.bool_) or not chosen.any():
            raise ValueError(f"reset_mask is {mask!r}; allowed: a bool array of {self.num_envs}, one at least True")
        lanes = np.flatnonzero(chosen).tolist()
        if any(last is None for last, picked in zip(self._last, chosen) if not picked):
            raise ValueError("reset_mask leaves out a lane that never had an episode; allowed: all lanes at first")
        self.async_reset(seed=seed, options=options, env_id=lanes)
        infos: dict[str, Any] = {}
        for i, outcome in zip(lanes, self._take(lanes)):
            infos = self._add_info(infos, outcome.infos[0], i)
        return self._observations(self._last), infos

    def step(self, actions: Any) -> Batch:
        """Steps all lanes and waits for all.

        Raises:
            AlreadyPendingCallError: a lane is in flight.
        """
        self.send(actions)
        return self._batch(self._take(range(self.num_envs)))

    # -- lanes that are ready --------------------------------------------------------------------
    def async_reset(self, *, seed: Any = None, options: dict[str, Any] | None = None, env_id: Any = None) -> None:
        """Begins new episodes; ``recv`` gives their first observations, with rewards of 0.

        Args:
            seed: as in ``reset``; a lane's seed does not depend on which others are reset.
            options: for each environment.
            env_id: numbers of the lanes; all by default.

        Raises:
            ValueError: the seeds or the lanes do not fit.
            AlreadyPendingCallError: one of the lanes is in flight.
        """
        lanes = self._idle(env_id, "async_reset")
        if seed is None or isinstance(seed, (int, np.integer)):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} lanes; allowed: one for each, None, or one number")
        for i in lanes:
            self._launch(i, self._lanes[i].reset, seed[i], options)

    def send(self, actions: Any, env_id: Any = None) -> None:
        """Gives actions to lanes and returns at once.

        Args:
            actions: a batch of as many rows as there are lanes in ``env_id``.
            env_id: numbers of the lanes, such as ``infos["env_id"]``; all by default.

        Raises:
            ValueError: the lanes or the number of actions do not fit; nothing was sent.
            AlreadyPendingCallError: one of the lanes is in flight; nothing was sent.
            RuntimeError: (DISABLED) the episode of one of the lanes is over.
        """
        lanes = self._idle(env_id, "send")
        rows = list(iterate(self.action_space, actions))
        if len(rows) != len(lanes):
            raise ValueError(f"{len(rows)} actions for {len(lanes)} lanes; allowed: one for each")
        if self.autoreset_mode is AutoresetMode.DISABLED and (over := [i for i in lanes if self._lanes[i].over]):
            raise RuntimeError(f"the episodes of lanes {over} are over: reset these lanes first")
        for i, action in zip(lanes, rows):
            self._launch(i, self._lanes[i].step, action)

    def recv(self, least: int = 1, timeout: float | None = None) -> Batch:
        """Waits until some lanes are ready and takes all that are; each stands still until ``send``.

        Args:
            least: so many lanes, at most those in flight.
            timeout: seconds, None for any time.

        Returns:
            ``(observations, rewards, terminations, truncations, infos)`` with one row for each of the lanes in
            ``infos["env_id"]``, an int array, in the order in which they were ready.

        Raises:
            ValueError: so many lanes are not in flight.
            NoAsyncCallError: no lane is in flight.
            TimeoutError: fewer were ready in time; nothing is lost.
        """
        self._open()
        if not self._flying:
            raise NoAsyncCallError("no lane is in flight: send() or async_reset() first", "recv")
        least = whole("least", least, 1, len(self._flying), " (lanes in flight)")
        with self._news:
            if not self._news.wait_for(lambda: len(self._ready) >= least, timeout):
                raise TimeoutError(f"{len(self._ready)} lanes were ready after {timeout} s, not {least}")
            lanes = list(self._ready)
        failed = [i for i in lanes if self._flying[i].exception() is not None]
        *batch, infos = self._batch(self._take(failed[:1] or lanes))
        return *batch, infos | {"env_id": np.array(lanes)}

    @property
    def infra_failures(self) -> int:
        """Steps and resets, over all lanes, that failed for the infrastructure's sake."""
        steps = (getattr(lane.env.unwrapped, "infra_failures", 0) for lane in self._lanes)
        return sum(steps) + sum(lane.failed_resets for lane in self._lanes)

    # -- work ------------------------------------------------------------------------------------
    def _open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the vector environment is closed")

    def _idle(self, env_id: Any, name: str) -> list[int]:
        """The numbers of lanes, if none of them is in flight."""
        self._open()
        given = range(self.num_envs) if env_id is None else np.atleast_1d(np.asarray(env_id)).tolist()
        lanes = [whole("a lane", i, 0, self.num_envs - 1) for i in given]
        if len(set(lanes)) != len(lanes) or not lanes:
            raise ValueError(f"the lanes are {lanes}; allowed: each once, and at least one")
        if busy := [i for i in lanes if i in self._flying]:
            raise AlreadyPendingCallError(f"{name}: lanes {busy} are in flight: recv() them first", name)
        return lanes

    def _launch(self, i: int, work: Callable[..., _Outcome], *args: Any) -> None:
        self._flying[i] = self._lanes[i].thread.submit(work, *args)
        self._flying[i].add_done_callback(lambda _: self._landed(i))

    def _landed(self, i: int) -> None:
        with self._news:
            self._ready.append(i)
            self._news.notify_all()

    def _take(self, lanes: Sequence[int]) -> list[_Outcome]:
        """Waits for lanes in flight; what they did, or raises what the first of them raised."""
        with self._news:
            self._news.wait_for(lambda: set(lanes) <= set(self._ready))
            self._ready = [i for i in self._ready if i not in lanes]
        done = [self._flying.pop(i) for i in lanes]
        for i, future in zip(lanes, done):
            if future.exception() is None:
                self._last[i] = future.result().obs
        return [_result(i, future) for i, future in zip(lanes, done)]

    def _observations(self, obs: Sequence[Any]) -> Any:
        out: Any = create_empty_array(self.single_observation_space, n=len(obs))
        return concatenate(self.single_observation_space, obs, out)

    def _batch(self, outcomes: Sequence[_Outcome]) -> Batch:
        """Outcomes as rows, with infos as Gymnasium batches them."""
        rows = VectorEnv[Any, Any, Any]()
        rows.num_envs = len(outcomes)
        infos: dict[str, Any] = {}
        for row, outcome in enumerate(outcomes):
            for info in outcome.infos:
                infos = rows._add_info(infos, info, row)
        rewards = np.array([o.reward for o in outcomes], np.float64)
        terminated, truncated = (np.array([o[k] for o in outcomes], np.bool_) for k in (2, 3))
        return self._observations([o.obs for o in outcomes]), rewards, terminated, truncated, infos

    # -- the environments ------------------------------------------------------------------------
    def _each(self, name: str, function: Callable[..., Any], *columns: Sequence[Any]) -> tuple[Any, ...]:
        """A function of each lane's environment, in that lane's thread."""
        self._idle(None, name)
        work = [lane.thread.submit(function, lane.env, *row) for lane, *row in zip(self._lanes, *columns)]
        wait(work)
        return tuple(_result(i, future) for i, future in enumerate(work))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of each environment, or gets an attribute.

        Raises:
            AlreadyPendingCallError: a lane is in flight.
        """

        def one(env: gym.Env[Any, Any]) -> Any:
            found = env.get_wrapper_attr(name)
            return found(*args, **kwargs) if callable(found) else found

        return self._each("call", one)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each environment; raises as ``call``."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute: a list or tuple has one value a lane, anything else is for all.

        Raises:
            ValueError: not one value a lane.
            AlreadyPendingCallError: a lane is in flight.
        """
        if not isinstance(values, (list, tuple)):
            values = [values] * self.num_envs
        if len(values) != self.num_envs:
            raise ValueError(f"{len(values)} values for {self.num_envs} lanes; allowed: one for each, or one for all")
        self._each("set_attr", lambda env, value: env.set_wrapper_attr(name, value), values)

    def render(self) -> tuple[Any, ...]:
        """Each environment's frame; raises as ``call``."""
        return self._each("render", lambda env: env.render())

    @property  # type: ignore[misc]  # a tuple that nobody sets, as SyncVectorEnv's
    def np_random(self) -> Any:
        """Each environment's generator."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> Any:
        """Each environment's seed."""
        return self.get_attr("np_random_seed")

    def close_extras(self, timeout: float | None = None, **kwargs: Any) -> None:
        """Waits for lanes in flight, ends the threads and closes the environments.

        Args:
            timeout: seconds after which an environment is closed under a step that still runs, which ends what runs in its
                sandbox; None waits as long as the step takes.
            kwargs: ignored, as other vector environments do.
        """
        self.closed = True  # also where an environment cannot be closed: nothing is left to try again
        late = wait(self._flying.values(), timeout).not_done
        with contextlib.ExitStack() as stack:  # all are closed, whatever one of them raises
            for lane in self._lanes:
                stack.callback(lane.env.close)
                stack.callback(lane.thread.shutdown)
                if self._flying.get(lane.number) in late:
                    stack.callback(lane.env.close)


def _result(lane: int, future: Future[Any]) -> Any:
    """A future's result; what it raised gets a note (PEP 678, also where Python is too old to print it)."""
    error = future.exception()
    if error is not None:
        vars(error).setdefault("__notes__", []).append(f"in lane {lane}")
    return future.result()


def ready(
    env_id: str, /, num_envs: int = 1, *, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **kwargs: Any
) -> ReadyVectorEnv:
    """``num_envs`` lanes of an id, with its wrappers.

    ``gym.make_vec`` comes here by ``vector_entry_point="milepost.envs.vector:ID"``; it allows that only for ids without
    wrappers of their own, and takes ``autoreset_mode`` as a keyword instead of in ``vector_kwargs``.

    Args:
        env_id: any id that ``gym.make`` knows.
        num_envs: number of lanes.
        autoreset_mode: as in ``SyncVectorEnv``.
        kwargs: of ``gym.make``.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
    """
    make = functools.partial(gym.make, env_id, **{"disable_env_checker": True, **kwargs})
    return ReadyVectorEnv([make] * whole("num_envs", num_envs, 1), autoreset_mode=autoreset_mode)


def __getattr__(name: str) -> Callable[..., ReadyVectorEnv]:
    """An id as a function: Gymnasium's registry names functions by text, and does not tell them which id is meant."""
    if name in gym.registry:
        return functools.partial(ready, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
