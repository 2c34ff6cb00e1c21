"""``milepost`` and ``python -m milepost``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .wrappers.shaper import MissingFact, allow_import


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "milepost", description="Environments for agents, stackable reward shaping, baseline agents."
    )
    p.add_argument("--version", action="version", version=f"milepost {__version__}")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    sub = p.add_subparsers(dest="command", metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return sub.add_parser(name, help=text, description=text)

    def common(c: argparse.ArgumentParser, agent: str | None = None) -> None:
        c.add_argument("id", help="environment id, see `milepost list --kind env`")
        c.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the environment")
        c.add_argument(
            "--shape", default="", help='layers, such as "subgoal_options(beta=0.5), gated_reward_accumulation"'
        )
        c.add_argument("--seed", type=int, default=0)
        c.add_argument("--allow-import", nargs="*", default=[], metavar="MODULE", help="modules that names may import")
        if agent:
            c.add_argument("--agent", default=agent, help="name, module:factory or an SB3 .zip")

    c = command("list", "environments, shapers and agents, a line each")
    c.add_argument("--kind", choices=["env", "shaper", "agent"])
    c = command("info", "all about one environment, shaper or agent")
    c.add_argument("name")
    common(command("play", "play in the terminal; every step shows its reward terms"))
    c = command("train", "train an agent, with a curve on held-out worlds")
    common(c, "text")
    c.add_argument("--steps", type=int, default=20_000)
    c.add_argument("--eval-every", type=int, default=2_000)
    c.add_argument("--eval-episodes", type=int, default=100)
    c.add_argument("--agent-set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the agent")
    c.add_argument("--out", type=Path, default=Path("runs/train"))
    c.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    c = command("eval", "evaluate a checkpoint on held-out worlds, without shaping")
    c.add_argument("checkpoint", type=Path, help="folder that train wrote")
    c.add_argument("--episodes", type=int, default=100)
    c.add_argument("--seed", type=int, default=1)
    c = command("collect", "record an agent's episodes")
    common(c, "oracle")
    c.add_argument("--episodes", type=int, default=10)
    c.add_argument("--format", choices=["jsonl", "minari"], default="jsonl")
    c.add_argument("--out", required=True, help="a file (jsonl) or a data set's name such as quest/oracle-v0 (minari)")
    c = command("bench", "agents x environments x stacks x seeds; resumes; a table and a picture")
    c.add_argument("suite", type=Path)
    c.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    c.add_argument("--out", type=Path, help="folder of the results (default: runs/NAME)")
    c.add_argument("--quick", action="store_true", help="a trial of the machinery with a tenth of the steps")
    c.add_argument(
        "--allow-import", nargs="*", default=[], metavar="MODULE", help="modules beside the suite or installed"
    )
    c = command("setup", "what the optional parts bring, and whether they are there")
    c.add_argument("extra", nargs="*")
    c = command("demo", "the main job: shaping against sparse reward, a table and a picture")
    c.add_argument("--out", type=Path, default=Path("runs/demo"))
    c.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    c.add_argument("--quick", action="store_true")
    return p


def _do(a: argparse.Namespace) -> int:
    from .cli.names import parse_settings, parse_shape

    allow_import(*getattr(a, "allow_import", ()))
    if a.command in ("list", "info", "setup"):
        from .cli import show

        if a.command == "setup":
            return show.setup(a.extra)
        show.list_all(a.kind) if a.command == "list" else show.info(a.name)
    elif a.command == "play":
        from .cli.play import play

        play(a.id, parse_settings(a.set), parse_shape(a.shape), a.seed, sys.stdin)
    elif a.command == "collect":
        from .cli.play import collect

        layers, settings = parse_shape(a.shape), parse_settings(a.set)
        collect(a.id, settings, layers, a.agent, a.episodes, a.seed, a.out, a.format)
    elif a.command == "train":
        from .cli.train import train

        train(_train_spec(a), a.out, a.resume)
    elif a.command == "eval":
        from .cli.train import eval_checkpoint

        eval_checkpoint(a.checkpoint, a.episodes, a.seed)
    elif a.command == "bench":
        from .cli.bench import bench
        from .cli.suite import load_suite

        beside = str(a.suite.resolve().parent)
        if a.allow_import:  # an allowed module may stand beside the suite
            sys.path.insert(0, beside)
        suite = load_suite(a.suite, tuple(a.allow_import), a.quick)
        folder = a.out or Path("runs") / (suite.name + ("-quick" if a.quick else ""))
        results = bench(suite, folder, max(1, a.jobs), (beside,) if a.allow_import else ())
        return int(not any(r["status"] == "ok" for r in results))
    elif a.command == "demo":
        from .cli.train import demo

        demo(a.out, max(1, a.jobs), a.quick)
    else:
        _parser().print_help()
    return 0


def _train_spec(a: argparse.Namespace) -> dict[str, Any]:
    from .cli.names import UserError, parse_settings, parse_shape

    if not 1 <= a.eval_every <= a.steps:
        raise UserError(f"--eval-every is {a.eval_every}, allowed is 1 to --steps ({a.steps})")
    return {
        "env": {"id": a.id, "name": a.id, "settings": parse_settings(a.set)},
        "stack": {"name": a.shape or "sparse", "shape": a.shape, "layers": parse_shape(a.shape)},
        "agent": {"name": a.agent, "title": a.agent, "settings": parse_settings(a.agent_set)},
        "seed": a.seed,
        "steps": a.steps,
        "eval_every": a.eval_every,
        "eval_episodes": a.eval_episodes,
        "allow_import": list(a.allow_import),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 is success, 2 is something that was not understood."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["_run"]:  # a worker of bench
        from .cli.run import worker

        return worker(*args[1:])
    from .cli.names import UserError

    a = _parser().parse_args(args)
    try:
        return _do(a)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (UserError, ValueError, ImportError, MissingFact, FileNotFoundError, TypeError) as e:
        if a.debug or (
            isinstance(e, TypeError) and not a.debug and "setting" not in str(e) and "argument" not in str(e)
        ):
            raise
        print(f"milepost: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
