"""A stranger's agent: a class with ``act``. Run as a script, it plays a few episodes.

As a row of a suite: ``milepost bench examples/my_suite.toml --allow-import my_agent``.
"""

import re
from collections import Counter


class Reader:
    """Takes the action whose words the objective and the journal name, and tires of what it has taken."""

    def reset(self, seed=None):
        self.taken = Counter()

    def act(self, obs, info):
        hints = set(re.findall(r"\w+", "\n".join(re.findall("(?:Objective|Journal):.*", obs))))

        def liking(action):
            return sum(w in hints for w in action.split()) / len(action.split()) - self.taken[action] / 2

        best = max(info["admissible_actions"], key=liking)
        self.taken[best] += 1
        return best


if __name__ == "__main__":
    import gymnasium as gym

    import milepost  # registers the ids
    from milepost.baselines.agent import check_agent
    from milepost.baselines.evaluate import evaluate

    env = gym.make("milepost/Quest-easy-v0", split="test")
    check_agent(Reader(), env)
    got = evaluate(Reader(), env, episodes=20)
    print(
        f"milepost {milepost.__version__}: success {got.success:.2f} in {got.episodes} episodes of {got.length:.1f} steps"
    )
