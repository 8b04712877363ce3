"""The command line: parse, call one step after the other, print.

``main`` is the only place where an error becomes an exit code: 2 for what the user can mend, with
one message and no traceback, paths that the system refuses included; 1 where some cases were set
aside and all others done; 75 for work that was asked to stop; everything else is a defect and keeps
its traceback.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nnseg_core import __version__
from nnseg_core.allocator import keep_freed_memory
from nnseg_core.cli.display import log_shown
from nnseg_core.errors import NnsegError, Stopped, refusal
from nnseg_core.plugins import Plugins, load_plugins
from nnseg_core.ranks import Ranks, from_environment
from nnseg_core.team import joined

OF_ALL_RANKS = ("run", "train", "finetune", "predict")
"""Commands that several processes share; of any other, rank 0 does all by itself."""

HELP = "Self-configuring biomedical image segmentation whose every part is a plugin."


def make_app(plugins: Plugins) -> typer.Typer:
    """The application with its own commands and those of plugins."""
    from nnseg_core.cli import (
        bench,
        check,
        demo,
        doctor,
        ensemble,
        evaluate,
        find_lr,
        finetune,
        fix,
        plan,
        postprocess,
        predict,
        preprocess,
        run,
        select,
        split,
        status,
        train,
    )
    from nnseg_core.cli import plugins as plugin_commands

    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    for command in (
        demo.demo,
        run.run,
        check.check,
        fix.fix,
        plan.plan,
        preprocess.preprocess,
        split.split,
        find_lr.find_lr,
        train.train,
        finetune.finetune,
        select.select,
        predict.predict,
        ensemble.ensemble,
        postprocess.postprocess,
        evaluate.evaluate,
        bench.bench,
        status.status,
        doctor.doctor,
        plugin_commands.plugins,
    ):
        app.command()(command)
    plugins.manager.hook.nnseg_commands(app=app)
    return app


def main() -> None:
    """The ``nnseg`` command."""
    # Threads that wait for each other sleep instead of spinning. That costs nothing on an idle
    # machine (0.74 s a training step on two cores, measured), and beside one other busy process
    # a step takes 1.1 s instead of 5.3 s. OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    plugins = load_plugins()
    for broken in plugins.broken:
        print(f"nnseg: {broken}", file=sys.stderr)
    try:
        with joined(_launched()), log_shown():
            make_app(plugins)(obj=plugins)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(stopped.exit_code) from None
    except NnsegError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if (refused := refusal(error)) is None:
            raise
        print(f"error: {refused}", file=sys.stderr)
        raise SystemExit(refused.exit_code) from None
    except KeyboardInterrupt:
        print("stopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def _launched() -> Ranks:
    """The ranks that share this command."""
    ranks = from_environment()
    if sys.argv[1:2] and sys.argv[1] in OF_ALL_RANKS:
        return ranks
    if not ranks.main:
        raise SystemExit(0)
    return Ranks()


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"nnseg {__version__}")
        raise typer.Exit
