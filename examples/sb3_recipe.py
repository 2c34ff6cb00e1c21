"""Stable-Baselines3 with reward shaping: Monitor inside, ``shape`` outside, evaluation on held-out worlds without shaping.

    python examples/sb3_recipe.py --steps 10000

Needs the extra ``sb3``. Because the Monitor stands inside, ``rollout/ep_rew_mean`` and ``info["episode"]["r"]`` are the
environment's own return; what the layers make of it is in ``reward_terms/...`` and ``returns/shaped_return``.
"""

import argparse

import gymnasium as gym
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor

import milepost  # noqa: F401  (registers the ids)
from milepost import shape
from milepost.baselines.credit import Credit
from milepost.baselines.sb3 import make_sb3
from milepost.wrappers import GatedRewardAccumulation, SubgoalOptions

ID = "milepost/Quest-easy-encoded-v0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", help="folder for TensorBoard")
    args = parser.parse_args()

    # the gate opens or closes when an episode ends: without Credit all of it would be settled on the last step
    layers = [SubgoalOptions(beta=0.1), GatedRewardAccumulation(high=("outcome",))]
    train = shape(Monitor(gym.make(ID)), layers, seed=args.seed)
    held_out = Monitor(gym.make(ID, split="test"))

    model = make_sb3("maskable_ppo", train, seed=args.seed, tensorboard_log=args.log)
    credit = Credit()
    # the policy masks its own scores, so SB3's plain callback will do; sampled actions do not get caught in loops
    scores = EvalCallback(
        held_out, n_eval_episodes=20, eval_freq=max(512, args.steps // 5), deterministic=False, verbose=0
    )
    model.learn(args.steps, callback=[credit, scores])

    print("training, mean over the latest episodes:")
    for name, value in credit.last.items():
        print(f"  {name:40s} {value:8.3f}")
    print(f"held-out worlds, without shaping: return {scores.last_mean_reward:.2f} (1 is success, chance about 0.17)")
    train.close()
    held_out.close()


if __name__ == "__main__":
    main()
