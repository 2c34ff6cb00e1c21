"""PPO in one file, in the manner of CleanRL: torch, a vector environment, and ``milepost.shape`` around it.

    python examples/cleanrl_loop.py --steps 30000

Needs the extra ``torch``. One stack serves all copies of the environment; evaluation is on held-out worlds without shaping.
Only step layers stand in the stack: this loop learns from each reward as it comes (for others see ``sb3_recipe.py``).
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn
from torch.distributions import Categorical

import milepost
from milepost.wrappers import PotentialShaping

ID, LANES, ROLLOUT, EPOCHS, BATCH = "milepost/Quest-easy-encoded-v0", 8, 64, 4, 128
GAMMA, LAMBDA, CLIP, ENTROPY = 0.99, 0.95, 0.2, 0.01


class Agent(nn.Module):
    """Scores every admissible action with the same weights; values the state."""

    def __init__(self, space):
        super().__init__()
        size, width = space["observation"].shape[0], space["actions"].shape[1]
        self.state = nn.Sequential(nn.Linear(size, 64), nn.Tanh())
        self.score = nn.Sequential(nn.Linear(64 + width, 64), nn.Tanh(), nn.Linear(64, 1))
        self.critic = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, obs):
        state = self.state(obs["observation"])
        rows = obs["actions"]
        logits = self.score(torch.cat([state.unsqueeze(1).expand(-1, rows.shape[1], -1), rows], 2)).squeeze(2)
        return Categorical(logits=logits.masked_fill(obs["action_mask"] == 0, -1e9)), self.critic(state).squeeze(1)


def tensors(obs):
    return {k: torch.as_tensor(np.asarray(v), dtype=torch.float32) for k, v in obs.items()}


@torch.no_grad()
def success(agent, episodes, seed):
    """The share of held-out worlds that are solved."""
    env, won = gym.make(ID, split="test"), 0
    for k in range(episodes):
        obs, info = env.reset(seed=seed + k)
        done = False
        while not done:
            action = agent(tensors({n: v[None] for n, v in obs.items()}))[0].sample()
            obs, _, terminated, truncated, info = env.step(int(action))
            done = terminated or truncated
        won += info["success"]
    env.close()
    return won / episodes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=50, help="of each evaluation")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    # SAME_STEP: every step is a real one; the last observation of an episode is in infos["final_obs"]
    envs = gym.make_vec(ID, LANES, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})
    envs = milepost.shape(envs, [PotentialShaping(key="progress", gamma=GAMMA)])
    agent = Agent(envs.single_observation_space)
    optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3)
    print(f"before: held-out success {success(agent, args.episodes, 10_000):.2f}", flush=True)

    obs = tensors(envs.reset(seed=args.seed)[0])
    updates = max(1, args.steps // (LANES * ROLLOUT))
    for update in range(1, updates + 1):
        rows, terms, ended = [], {}, 0
        with torch.no_grad():
            for _ in range(ROLLOUT):
                policy, value = agent(obs)
                action = policy.sample()
                new, reward, terminated, truncated, infos = envs.step(action.numpy())
                reward = torch.as_tensor(reward, dtype=torch.float32)
                done = torch.as_tensor(terminated | truncated)
                for i in np.flatnonzero(truncated):  # cut off, not over: the value of the last state goes on
                    last = tensors({k: v[None] for k, v in infos["final_obs"][i].items()})
                    reward[i] += GAMMA * agent(last)[1][0]
                for account in (infos.get("reward_terms", {}), infos.get("final_info", {}).get("reward_terms", {})):
                    for k, v in account.items():
                        if k[0] != "_":
                            terms[k] = terms.get(k, 0.0) + float(np.sum(v))
                ended += int(done.sum())
                rows.append((obs, action, policy.log_prob(action), value, reward, done.float()))
                obs = tensors(new)
            following = agent(obs)[1]

        # generalised advantage estimation, backwards in time
        advantage, out = torch.zeros(LANES), []
        for _, _, _, value, reward, done in reversed(rows):
            delta = reward + GAMMA * following * (1 - done) - value
            advantage = delta + GAMMA * LAMBDA * (1 - done) * advantage
            out.insert(0, advantage)
            following = value
        flat_obs = {k: torch.cat([r[0][k] for r in rows]) for k in obs}
        action, old, value = (torch.cat([r[j] for r in rows]) for j in (1, 2, 3))
        advantages = torch.cat(out)
        returns = advantages + value

        for _ in range(EPOCHS):
            for part in torch.randperm(len(action)).split(BATCH):
                policy, value = agent({k: v[part] for k, v in flat_obs.items()})
                a = advantages[part]
                a = (a - a.mean()) / (a.std() + 1e-8)
                ratio = (policy.log_prob(action[part]) - old[part]).exp()
                gain = torch.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + CLIP) * a).mean()
                loss = -gain + 0.5 * (value - returns[part]).square().mean() - ENTROPY * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        if update % 5 == 0 or update == updates:
            each = "  ".join(f"{k} {v / max(ended, 1):+.2f}" for k, v in terms.items())
            print(f"{update * LANES * ROLLOUT:>7} steps, an episode: {each}", flush=True)

    print(f"after:  held-out success {success(agent, args.episodes, 10_000):.2f}")
    envs.close()


if __name__ == "__main__":
    main()
