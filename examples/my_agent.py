"""A stranger's agent: a class with ``act``. Run as a script, it plays a few episodes.

As a row of a suite: ``milepost bench examples/my_suite.toml --allow-import my_agent``.
"""


class FirstAction:
    """Takes the first admissible action it has not tried in this episode."""

    def reset(self, seed=None):
        self.tried = set()

    def act(self, obs, info):
        fresh = [a for a in info["admissible_actions"] if a not in self.tried]
        action = (fresh or info["admissible_actions"])[0]
        self.tried.add(action)
        return action


if __name__ == "__main__":
    import gymnasium as gym

    import milepost  # registers the ids
    from milepost.baselines.agent import check_agent
    from milepost.baselines.evaluate import evaluate

    env = gym.make("milepost/Quest-easy-v0", split="test")
    check_agent(FirstAction(), env)
    got = evaluate(FirstAction(), env, episodes=20)
    print(
        f"milepost {milepost.__version__}: success {got.success:.2f} in {got.episodes} episodes of {got.length:.1f} steps"
    )
