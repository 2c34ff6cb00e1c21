"""Reasoning tasks of reasoning-gym with a Python in a sandbox."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...sandboxes import SandboxError
from ..errors import InfraError, one_of
from ..text.base import TEST, flag
from .calls import Call
from .ftrl_grade import said
from .interpreter import MB, Interpreter
from .slot_env import SlotEnv
from .spaces import Calls
from .tool import Tool, Toolbox, ToolFailed

# generators that are quick, draw from their own seed alone, know an answer, and do not run what is said to grade it
POOL = (
    "ab aiw base_conversion basic_arithmetic binary_alternation bitwise_arithmetic caesar_cipher chain_sum count_bits "
    "count_primes course_schedule cryptarithm decimal_arithmetic decimal_chain_sum dice family_relationships "
    "fraction_simplification gcd group_anagrams isomorphic_strings kakurasu knights_knaves largest_island lcm leg_counting "
    "letter_counting manipulate_matrix maze mini_sudoku number_filtering number_format number_sequence number_sorting "
    "palindrome_partitioning path_star power_function prime_factorization products ransom_note rotate_matrix rotten_oranges "
    "self_reference shortest_path simple_equations simple_geometry spell_backward string_manipulation string_splitting "
    "string_synthesis survo time_intervals tower_of_hanoi word_sorting"
).split()
DATASETS = (  # of these answers nobody guesses
    "base_conversion", "basic_arithmetic", "bitwise_arithmetic", "chain_sum", "count_bits", "count_primes", "cryptarithm",
    "decimal_chain_sum", "gcd", "lcm", "mini_sudoku", "number_sorting", "power_function", "prime_factorization", "products",
    "rotate_matrix", "shortest_path", "string_manipulation", "survo", "word_sorting",
)  # fmt: skip
CHOICE = (  # those for agents that choose a program, see ``programs``
    "basic_arithmetic", "bitwise_arithmetic", "chain_sum", "count_bits", "count_primes", "gcd", "lcm", "products",
)  # fmt: skip
_FOUND = 10_000  # tasks whose right program is kept
_SIZE = 2**31  # tasks of a generator: the first half is for training
_RUN = re.compile(r"[-+*/%&|^~<>(). \d]*(?:0x[\da-fA-F]+|\d)[-+*/%&|^~<>(). \da-fA-Fx]*")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")

SYSTEM = (
    "Solve the task. With python you can run programs; print what you want to see, or end with an expression. Then say "
    "<answer>the answer alone</answer> without a tool call, in the form that the task wants: the episode ends with it."
)


@functools.lru_cache(128)
def _dataset(name: str, config: str) -> Any:
    """A generator of reasoning-gym."""
    try:
        import reasoning_gym
    except ModuleNotFoundError:
        raise ModuleNotFoundError("PythonTool's tasks are reasoning-gym's: pip install 'milepost[tools]'") from None
    try:
        made = reasoning_gym.create_dataset(name, seed=0, size=_SIZE, **json.loads(config))
        made[0]
    except (AssertionError, TypeError, ValueError) as e:
        raise ValueError(f"datasets: reasoning-gym takes no {config} for {name!r}: {e}") from None
    return made


def programs(question: str) -> list[str]:
    """Programs that a question may want, made from its numbers, its longest formula and its words alone."""
    numbers = [w if "." in w else str(int(w)) for w in _NUMBER.findall(question)][:60]
    formula = max((m.strip(" .") for m in _RUN.findall(question)), key=len, default="")
    out = []
    if any(c in formula for c in "+-*/%&|^~<>"):
        out += [f"print({formula})", f"print(hex({formula}))", f"print(({formula.replace('/', '//')}))"]
    if numbers:
        n = f"n = [{', '.join(numbers)}]\n"
        out += [f"{n}print({f}(n))" for f in ("sum", "max", "min", "sorted", "len")]
        out += [f"{n}print(bin(int(n[-1])).count('1'))", f"import math\n{n}print(math.prod(n))"]
        out += [f"import math\n{n}print(math.{f}(*map(int, n)))" for f in ("gcd", "lcm")]
    if len(numbers) > 1:
        prime = "k > 1 and all(k % d for d in range(2, int(k**0.5) + 1))"
        out.append(f"a, b = {numbers[0]}, {numbers[1]}\nprint(sum(1 for k in range(a, b + 1) if {prime}))")
    words = f"words = {question[-1000:].split()!r}\n"
    return [*out, *(f"{words}print({f})" for f in ("len(words)", "', '.join(sorted(words))", "' '.join(words)[::-1]"))]


def _tool(timeout: float, stateful: bool) -> Tool:
    def python(state: Interpreter, given: dict[str, Any]) -> str:
        ran = state.run(given["code"])
        if ran.end == "done":
            return ran.text or "(no output)"
        why = (
            f"it was cut off after {timeout:g} seconds" if ran.end == "late" else f"it ended with exit code {ran.code}"
        )
        lost = "; all variables are lost" if stateful else ""
        raise ToolFailed(f"{why}{lost}\n{ran.text}".strip())

    last = "Variables last until the episode ends." if stateful else "Each program begins anew."
    about = (
        f"Runs a Python program and shows its output, at most {timeout:g} seconds. {last} Standard library, no network."
    )
    code = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    return Tool.of_schema("python", about, code, python, writes=False)


class PythonToolEnv(SlotEnv):
    """Reasoning tasks with a sandboxed Python.

    ## Description
    Tasks from reasoning-gym's generators (Stojanovski et al. 2025, arXiv 2505.24760; Apache-2.0, installed as a dependency), an
    unlimited number, each graded by its generator's own rule. The agent has a ``python`` tool: in a sandbox without a
    network a warm interpreter forks a child for the episode (or, with ``stateful=False``, for each call), so that a call
    takes a millisecond or two and no start of Python. Time, memory, processes and output are limited; what is too late is
    killed with all that it started. Between calls, what a program left running (threads, processes) is stopped, but not a
    process in a session of its own, which may run on until the episode ends. What an episode leaves (files, processes, shared
    memory) is removed before the next, or the sandbox is put back as a whole. A program that kills the interpreter loses its
    variables and files and no more, and a copy that it forks ends where it ends; one that is made to take over the sandbox's
    own server could live on in that sandbox, which ``restore`` rules out. The hash seed is fixed and ``random`` is seeded
    with 0, so that the same calls show the same; the clock and the addresses of objects are what they are.

    The answer is what the agent says in a turn without a tool call: what stands inside of the last ``<answer>...</answer>``,
    or else behind the last ``Answer:`` in its line, or all of it. No answer is run as code: generators that would are not
    allowed. An empty turn is no answer.

    ## Observation Space
    ``Unicode(16384)``: at first the instruction, the tool and the task; then what the programs wrote, long output without
    its middle.

    ## Action Space
    ``Calls``: words or tool calls, in any form that ``calls.parse`` reads. ``python(code)``. With ``candidates``,
    ``info["admissible_actions"]`` has programs made from the task's numbers, formula and words, and in front of them the last
    lines that the last ones wrote as answers; these suit the datasets of ``CHOICE`` (arithmetic, divisors, primes, bits).

    ``milepost/PythonTool-encoded-v0`` is for agents without words (``SlotRows``): the tool, one of these programs, then its
    last line as the answer, on the datasets of ``CHOICE``. It plays the tasks of which one program finds the answer: all of
    the first 400.

    ## Rewards
    Terms, each times its weight (``weights``): ``outcome`` (1), by default alone: 1.0 for an answer that its generator scores
    with 1; ``valid_call`` and ``format`` as in all tool environments. ``match`` and ``items`` are 0: there is no
    reference way.

    ## Episode End
    Terminates with the answer, right or wrong; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox
    is lost.

    ## Information
    ``score``, ``max_score``, ``progress`` (1 at success), ``success``, ``subgoals`` (none), ``process_score``, ``tool_calls``,
    ``valid_action`` (a program that raises is a valid action; one that is cut off is none), ``admissible_actions``,
    ``messages``; ``answer_score``: what the generator gives the answer, in [0, 1], 0.0 before; at the end ``answer``. In the
    reset info ``meta`` (``task``, ``dataset``) and, with ``expose_reference``, ``reference`` (the oracle's words: no calls are
    the right ones) and ``reference_answer``.

    ## Arguments
    ``datasets``: names of generators (``POOL`` has those that are allowed), or a mapping to their settings, such as
    ``{"chain_sum": {"min_terms": 8, "max_terms": 9}}``. ``stateful``: variables last from call to call. ``timeout`` seconds
    and ``memory`` bytes of a program. ``restore``: each episode begins in a sandbox that was put back as a whole, which
    takes some 100 ms. ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``.
    ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``render_mode``.
    ``reset(options={"task": n})`` picks a task. Close the environment, and each ``fork``: they hold sandboxes.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed; says what is.
        ModuleNotFoundError: reasoning-gym is missing; says how to install it.
        InfraError: (``reset``) no sandbox can be made here; says what to do.
    """

    name = "pythontool"

    def __init__(
        self,
        *,
        datasets: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = DATASETS,
        stateful: bool = True,
        timeout: float = 5.0,
        memory: int = 512 * MB,
        restore: bool = False,
        sandbox: str = "local",
        sandbox_settings: Mapping[str, Any] | None = None,
        max_steps: int = 10,
        **settings: Any,
    ) -> None:
        super().__init__(max_steps=max_steps, **settings)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0.1 <= timeout <= 600:
            raise ValueError(f"timeout is {timeout!r}; allowed: seconds from 0.1 to 600")
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 64 * MB:
            raise ValueError(f"memory is {memory!r}; allowed: bytes from {64 * MB}")
        names = [datasets] if isinstance(datasets, str) else list(datasets)
        for name in names:
            if name not in POOL:
                raise one_of("datasets: a name", name, POOL)
        if not names:
            raise ValueError("datasets is empty; allowed: at least one name")
        configs = datasets if isinstance(datasets, Mapping) else {}
        self._datasets = [(n, _dataset(n, json.dumps(dict(configs.get(n) or {}), sort_keys=True))) for n in names]
        tools = [_tool(timeout, flag("stateful", stateful))]
        self.tools, self.action_space = Toolbox(tools), Calls(tools)
        limits: dict[str, Any] = {"timeout": timeout, "memory": memory, "restore": flag("restore", restore)}
        self.state = Interpreter(sandbox, sandbox_settings, stateful=stateful, **limits)
        self.system = SYSTEM
        self._entry: dict[str, Any] = {}
        self._said: str | None = None
        self._points = 0.0
        self._found: dict[int, str] = {}  # task: see _right

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As ``TextEnv.reset``; ``meta`` names the dataset, and with ``expose_reference`` there is ``reference_answer``."""
        text, info = super().reset(seed=seed, options=options)
        info["meta"]["dataset"] = self._dataset_name
        if self.expose_reference:
            info["reference_answer"] = self._entry["answer"]
        return text, info

    def _open(self, task: int) -> None:
        rng = np.random.default_rng([task, 22])
        self._dataset_name, self._dataset = self._datasets[int(rng.integers(len(self._datasets)))]
        number = int(rng.integers(_SIZE // 2)) + (_SIZE // 2 if task >= TEST else 0)
        self._entry = self._dataset[number]
        self.opening = self._entry["question"]
        self._said, self._points = None, 0.0
        self.state.ready()
        self.state.load(())

    def _reference(self) -> tuple[Any, ...]:
        return (f"<answer>{self._entry['answer']}</answer>",)

    def _remaining(self) -> list[Call | str]:
        return [] if self._ended else [f"<answer>{self._entry['answer']}</answer>"]

    def _reply(self, words: str) -> tuple[str, bool]:
        answer = said(words)
        if not answer:
            return "Say the answer in words, or call a tool.", False
        self._said, self._points = answer, self._graded(answer)
        return "", True

    def _graded(self, answer: str) -> float:
        try:
            points = float(self._dataset.score_answer(answer, self._entry))
        except Exception:  # generators that do not expect what was said
            return 0.0
        return points if math.isfinite(points) else 0.0

    def _won(self) -> bool:
        return self._points >= 1.0

    def _answer(self) -> str | None:
        return self._said

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"answer_score": self._points}

    def _phrases(self) -> tuple[str, ...]:
        """The last lines that the last programs wrote, as answers."""
        lines = [r.text.strip().rpartition("\n")[2] for r in self._results if r.ok]
        return tuple(f"<answer>{line}</answer>" for line in dict.fromkeys(lines) if 0 < len(line) <= 200)

    def _listed(self) -> tuple[str, ...]:
        calls = [Call("python", {"code": code}).text() for code in programs(self.opening)]
        return (*self._phrases(), *calls)[: self.candidates]

    # -- for agents that choose ------------------------------------------------------------------
    def _worth(self, tool: str, argument: str) -> list[str]:
        return programs(self.opening)

    def _needed(self) -> list[tuple[Any, bool]]:
        """A program whose output is right, and then that."""
        right = [p for p in self._phrases() if self._graded(said(p)) >= 1.0]
        if self._ended or right:
            return [(p, True) for p in right[:1] if not self._ended]
        code = self._right()
        return [(Call("python", {"code": code}) if code else step, True) for step in self._remaining()]

    def _right(self) -> str:
        """The first program made of the task whose last line is a right answer; "" where none is."""
        assert self.task is not None
        if self.task not in self._found:
            saved, found = self.state.save(), ""
            try:
                for code in programs(self.opening):
                    ran = self.state.run(code)
                    if ran.end == "done" and self._graded(ran.text.strip().rpartition("\n")[2]) >= 1.0:
                        found = code
                        break
            except SandboxError as e:
                raise InfraError(str(e)) from e
            self.state.load(saved)
            if len(self._found) >= _FOUND:
                self._found.clear()
            self._found[self.task] = found
        return self._found[self.task]

    def _keep(self) -> Any:
        return self._said, self._points

    def _take(self, kept: Any) -> None:
        self._said, self._points = kept

    def close(self) -> None:
        """Closes the sandbox; nothing is left running."""
        self.state.close()
