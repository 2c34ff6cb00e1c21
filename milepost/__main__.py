"""``milepost`` and ``python -m milepost``."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import gymnasium

from . import __version__
from .envs.errors import InfraError
from .wrappers.shaper import MissingFact, allow_import


class _Parser(argparse.ArgumentParser):
    """One sentence for an error, with the nearest known word; exit code 2."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        known = [c for a in self._actions for c in (a.choices or ())]
        close = difflib.get_close_matches(wrong[1], known, 1) if wrong else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        self.exit(2, f"{self.prog}: {message}{hint}\n(see {self.prog} --help)\n")


def _number(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} given, allowed is a whole number from {low}")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    p = _Parser("milepost", description="Environments for agents, stackable reward shaping, baseline agents.")
    p.add_argument("--version", action="version", version=f"milepost {__version__}")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    sub = p.add_subparsers(dest="command", metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return sub.add_parser(name, help=text, description=text)

    def several(c: argparse.ArgumentParser, name: str, metavar: str, text: str) -> None:
        c.add_argument(name, nargs="+", action="extend", default=[], metavar=metavar, help=text)

    def imports(c: argparse.ArgumentParser, text: str = "modules that names may import") -> None:
        several(c, "--allow-import", "MODULE", text)
        c.add_argument(
            "--allow-command", action="store_true", help="task files of MCP servers may start their commands"
        )

    def common(c: argparse.ArgumentParser, agent: str | None = None) -> None:
        c.add_argument("id", help="environment id, see `milepost list --kind env`; any of Gymnasium's")
        several(c, "--set", "KEY=VALUE", "settings of the environment")
        c.add_argument(
            "--shape", default="", help='layers, such as "subgoal_options(beta=0.5), gated_reward_accumulation"'
        )
        c.add_argument("--seed", type=_number(0), default=0)
        imports(c)
        if agent:
            c.add_argument("--agent", default=agent, help="see `milepost list --kind agent`")
            several(c, "--agent-set", "KEY=VALUE", "settings of the agent")

    c = command("list", "environments, shapers, agents and scorers, a line each")
    c.add_argument("--kind", choices=["env", "game", "shaper", "agent", "scorer"])
    c = command("info", "all about one environment, shaper, agent or scorer")
    c.add_argument("name")
    common(command("play", "play in the terminal; every step shows its reward terms"))
    c = command("train", "train an agent, with a curve on held-out worlds")
    common(c, "text")
    c.add_argument("--steps", type=_number(1), default=20_000)
    c.add_argument("--eval-every", type=_number(1), help="steps between evaluations (default: 2000)")
    c.add_argument("--eval-episodes", type=_number(1), default=100)
    c.add_argument("--out", type=Path, default=Path("runs/train"))
    c.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    c = command("eval", "evaluate a checkpoint on held-out worlds, without shaping")
    c.add_argument("checkpoint", type=Path, help="folder that train wrote")
    c.add_argument("--episodes", type=_number(1), default=100)
    c.add_argument("--seed", type=_number(0), default=1)
    imports(c)
    c = command("collect", "record an agent's episodes")
    common(c, "oracle")
    c.add_argument("--episodes", type=_number(1), default=10)
    c.add_argument(
        "--out",
        default="jsonl",
        metavar="jsonl|minari[:PLACE]",
        help="jsonl or jsonl:FILE (default file: runs/collect/ID-AGENT.jsonl), "
        "minari or minari:NAME/DATA-v0 (default name: id/agent-v0)",
    )
    c = command("bench", "agents x environments x stacks x seeds; resumes; a table and a picture")
    c.add_argument("suite", type=Path)
    c.add_argument("--jobs", type=_number(1), default=os.cpu_count() or 1)
    c.add_argument("--out", type=Path, help="folder of the results (default: runs/NAME)")
    c.add_argument("--quick", action="store_true", help="a trial of the machinery with a tenth of the steps")
    imports(c, "modules beside the suite or installed that its names may import")
    c = command(
        "judge-eval",
        "a judge's sub-goal verdicts against the environments' own truth: accuracy, F1, calibration, cost, and "
        "milliseconds a call (a throw-away question comes first: without the loading of a model)",
    )
    c.add_argument("judge", nargs="+", help="predicate, minilm, smollm2, openai:MODEL@URL or module:Class")
    several(c, "--judge-set", "KEY=VALUE", "settings of the judge, its mode and cache among them")
    several(c, "--env", "FAMILY", "quest, textworld, minihack (default: those that are installed)")
    several(c, "--set", "KEY=VALUE", "settings of the environments")
    several(
        c, "--sample", "balanced|natural", "the same number of each kind of transition, or as they come (default: both)"
    )
    c.add_argument("--view", default="text", choices=["text", "message", "crop", "screen"], help="what the judge sees")
    several(c, "--subgoal", "NAME", "ask only about these (default: all of the environment)")
    c.add_argument("-n", type=_number(1), default=200, help="transitions in a sample")
    c.add_argument("--seed", type=_number(0), default=0)
    c.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    imports(c)
    c = command("swe", "make software-engineering tasks")
    inner = c.add_subparsers(dest="action", metavar="action", required=True)
    text = "repair tasks for milepost/BugRepair-v0 out of packages; nothing of a package runs outside of a sandbox"
    c = inner.add_parser("build", help=text, description=text)
    c.add_argument("package", nargs="+", metavar="PACKAGE", help="NAME, NAME==VERSION, or a file .tar.gz or .zip")
    c.add_argument("--out", type=Path, default=Path("runs/swe"), help="folder of the tasks; others in it stay")
    c.add_argument(
        "--counts", default="1=8,2=3,3=1", metavar="BUGS=TASKS,...", help="tasks of each package by their bugs"
    )
    c.add_argument("--seed", type=_number(0), default=0)
    several(c, "--needs", "DIST", "installed distributions that the tests import, beside those that are found out")
    c.add_argument("--sandbox", default="local", choices=["local", "docker"])
    c.add_argument(
        "--timeout", type=float, default=60.0, help="seconds for a run of a package's tests, or a step of its build"
    )
    c = command("setup", "what the optional parts bring, and whether they are there")
    c.add_argument("extra", nargs="*")
    c = command("demo", "the main job: shaping against sparse reward, a table and a picture")
    c.add_argument("--out", type=Path, default=Path("runs/demo"))
    c.add_argument("--jobs", type=_number(1), default=os.cpu_count() or 1)
    c.add_argument("--quick", action="store_true")
    return p


def _do(a: argparse.Namespace) -> int:
    from .cli.names import parse_settings, parse_shape

    allow_import(*getattr(a, "allow_import", ()))
    if getattr(a, "allow_command", False):
        from .cli.run import ALLOW_COMMAND

        os.environ[ALLOW_COMMAND] = "1"
    if a.command in ("list", "info", "setup"):
        from .cli import show

        if a.command == "setup":
            return show.setup(a.extra)
        show.list_all(a.kind) if a.command == "list" else show.info(a.name)
    elif a.command == "play":
        from .cli.play import play

        play(a.id, parse_settings(a.set), parse_shape(a.shape), a.seed, sys.stdin)
    elif a.command == "collect":
        from .cli.collect import collect

        settings, layers, of_agent = parse_settings(a.set), parse_shape(a.shape), parse_settings(a.agent_set)
        collect(a.id, settings, layers, a.agent, of_agent, a.episodes, a.seed, a.out)
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
        if a.allow_import and beside not in sys.path:  # an allowed module may stand beside the suite
            sys.path.insert(0, beside)
        suite = load_suite(a.suite, tuple(a.allow_import), a.quick)
        folder = a.out or Path("runs") / (suite.name + ("-quick" if a.quick else ""))
        results = bench(suite, folder, a.jobs, (beside,) if a.allow_import else ())
        return int(not any(r["status"] == "ok" for r in results))
    elif a.command == "judge-eval":
        from .cli.judge import SAMPLES, judge_eval
        from .cli.names import unknown

        samples: list[str] = a.sample or list(SAMPLES)
        for s in samples:
            if s not in SAMPLES:
                raise unknown("sample", s, SAMPLES)
        of_judge, of_env = parse_settings(a.judge_set), parse_settings(a.set)
        judge_eval(a.judge, of_judge, a.env, of_env, samples, a.view, a.subgoal, a.n, a.seed, a.out)
    elif a.command == "swe":
        from .cli.swe import build

        return build(a.package, a.out, a.counts, a.seed, a.needs, a.sandbox, a.timeout)
    elif a.command == "demo":
        from .cli.train import demo

        demo(a.out, a.jobs, a.quick)
    else:
        _parser().print_help()
    return 0


def _train_spec(a: argparse.Namespace) -> dict[str, Any]:
    from .cli.names import UserError, parse_settings, parse_shape

    every = a.eval_every or min(2_000, a.steps)
    if every > a.steps:
        raise UserError(f"--eval-every is {every}, allowed is 1 to --steps ({a.steps})")
    return {
        "env": {"id": a.id, "name": a.id, "settings": parse_settings(a.set)},
        "stack": {"name": a.shape or "sparse", "shape": a.shape, "layers": parse_shape(a.shape)},
        "agent": {"name": a.agent, "title": a.agent, "settings": parse_settings(a.agent_set)},
        "seed": a.seed,
        "steps": a.steps,
        "eval_every": every,
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
        code = _do(a)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `milepost list | head`: Python would complain once more when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, ValueError, ImportError, MissingFact, OSError, gymnasium.error.Error, InfraError) as e:
        if a.debug:
            raise
        print(f"milepost: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
