"""What method_zoo.toml needs beside the product: factors of a step in a text world, for ``LatentReward``."""

from __future__ import annotations

from milepost import Transition

DEEDS = ("take", "open", "unlock", "put", "fit")


def factors(t: Transition) -> dict[str, float]:
    """Numbers that a designer who has read the rules would name; the same for both worlds.

    Quest and HackableSteps both publish how far the task is solved; the rest is in the command and its answer.
    """
    return {
        "progress": float(t.info["progress"]),
        "deed": float(str(t.action).startswith(DEEDS)),
        "walked": float(str(t.action).startswith("go")),
        "accepted": float(bool(t.info["valid_action"])),
    }
