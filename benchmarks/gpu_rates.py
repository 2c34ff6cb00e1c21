"""The text agent on cuda against the CPU: ``python benchmarks/gpu_rates.py`` (what ``make gpu`` runs).

First one batch of real steps: the loss of equal weights must agree within 1e-4. Then both train on Quest-medium with the
same settings, and the rates of the whole loop and of the gradient steps alone are printed, for the default network and for
a wider one, since a small network gives an accelerator little to do. The exit status is 1 if the losses differ or there
is no such device.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import milepost
from milepost import shape
from milepost.baselines.lanes import Lanes
from milepost.baselines.text_agent import TextAgent
from milepost.wrappers import PotentialShaping

SIZES: dict[str, dict[str, int]] = {
    "default (dim 48, hidden 64, 16 lanes)": {},
    "wide (dim 512, hidden 2048, 64 lanes)": {"dim": 512, "hidden": 2048, "lanes": 64, "minibatch": 2048},
}
TOLERANCE = 1e-4


def world() -> gym.Env[Any, Any]:
    return shape(gym.make("milepost/Quest-medium-v0"), [PotentialShaping(key="progress")])


def rows(agent: TextAgent, steps: int) -> tuple[list[Any], Any, Any]:
    """Steps as ``TextAgent.loss`` takes them, with the advantages and value targets of their episodes."""
    lanes, done, size = Lanes(world(), agent.settings.lanes, 0), [], 0
    while size < steps:
        ended = agent._collect(lanes)
        done += ended
        size += sum(len(e.rewards) for e in ended)
    lanes.close()
    pairs = [agent._advantages(e, e.rewards, None) for e in done]
    advantages, returns = (np.concatenate(x) for x in zip(*pairs))
    return [x for e in done for x in e.extras], advantages, returns


def loss_gap(device: str, settings: dict[str, int], steps: int = 256) -> tuple[float, float]:
    """|loss on the device - loss on the CPU| of equal weights on one batch, and the loss."""
    cpu, other = TextAgent(device="cpu", **settings), TextAgent(device=device, **settings)
    batch = rows(cpu, steps)
    one, two = float(cpu.loss(*batch).detach()), float(other.loss(*batch).detach())
    return abs(one - two), one


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rates(device: str, settings: dict[str, int], steps: int) -> tuple[float, float]:
    """Environment steps a second of the whole training loop, and steps a second through gradient steps alone."""
    agent, env = TextAgent(device=device, **settings), world()
    agent.learn(env, steps // 4)  # warms caches and kernels
    before, start = agent.steps, time.perf_counter()
    agent.learn(env, steps)
    wait(device)
    whole = (agent.steps - before) / (time.perf_counter() - start)
    batch = rows(agent, 1024)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 3:
        agent.optimizer.zero_grad()
        agent.loss(*batch).backward()
        agent.optimizer.step()
        count += len(batch[0])
        wait(device)
    return whole, count / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps of each timed training")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("no cuda device: nothing was run (the text agent trains on the CPU: make demo)")
        return 1
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    print(
        f"milepost {milepost.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {name}\n"
    )
    worst = 0.0
    print("| network | device | steps/s, training | steps/s, gradient | loss gap |\n| --- | --- | ---: | ---: | ---: |")
    for title, settings in SIZES.items():
        gap, loss = loss_gap(args.device, settings)
        worst = max(worst, gap)
        for device in ("cpu", args.device):
            whole, gradient = rates(device, settings, args.steps)
            shown = f"{gap:.1e} of {loss:.4f}" if device == args.device else "-"
            print(f"| {title} | {device} | {whole:.0f} | {gradient:.0f} | {shown} |", flush=True)
    ok = worst <= TOLERANCE
    print(f"\n{'pass' if ok else 'FAIL'}: the losses differ by {worst:.1e} (at most {TOLERANCE:.0e})")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
