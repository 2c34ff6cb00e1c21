"""Asks the real models what docs/judges.md asks, and keeps the answers beside it: ``python docs/fill_judges.py``.

Every command in every reachable state of the page's four worlds is asked about, so that no training run meets a question
without an answer. Needs ``milepost setup judges``; half a minute.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import gymnasium as gym

import milepost  # noqa: F401
from milepost.envs.text.quest.env import QuestEnv
from milepost.wrappers.scorers import Proposal, Question, serve
from milepost.wrappers.step.calm_judge import task_of

FILE = Path(__file__).parent / "judges.sqlite"
ALSO = [("drop vase", "You drop the vase."), ("take vase", "You take the vase.")]  # asked by hand on the page


def happenings(env: QuestEnv) -> set[tuple[str, str]]:
    """(command, message) of every admissible command in every state that can be reached from here."""
    state = lambda: repr((env.state.room, sorted(env.state.at.items()), sorted(env.state.open)))  # noqa: E731
    seen, found = {state()}, set[tuple[str, str]]()
    todo = deque([(env.snapshot(), tuple(env._admissible))])
    while todo:
        snapshot, commands = todo.popleft()
        for command in commands:
            env.restore(snapshot | {"steps": 0})
            _, _, terminated, _, info = env.step(command)
            found.add((command, info["message"]))
            if not terminated and state() not in seen:
                seen.add(state())
                todo.append((env.snapshot(), info["admissible_actions"]))
    return found


def main() -> None:
    FILE.unlink(missing_ok=True)
    judge = serve({"scorer": "split", "question": "minilm", "proposal": "smollm2", "cache": str(FILE), "timeout": None})
    env = gym.make("milepost/Quest-easy-v0", worlds=4, disable_env_checker=True).unwrapped
    assert isinstance(env, QuestEnv)
    for task in env.tasks():
        obs, _ = env.reset(options={"task": task})
        sentence = task_of(obs)
        (subgoals,) = judge.ask([Proposal(sentence)])
        questions = [
            Question(subgoals, sentence, "", c, m, "")
            for c, m in sorted({*happenings(env), *(ALSO if task == 0 else [])})
        ]
        for q, said in zip(questions, judge.ask(questions)):
            if yes := [g for g, p in said.items() if p >= 0.5]:
                print(f"{q.message}  ->  {', '.join(yes)}")
    print(judge.report())
    judge.close()


if __name__ == "__main__":
    main()
