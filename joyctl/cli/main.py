"""The command line: the list of commands, and how an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import sys

import typer

from joyctl.cli import campaigns, code, compare, data, doctor, jobs, recipes, reporting, results, scoring
from joyctl.errors import JoyctlError, Missing

app = typer.Typer(
    name="joyctl",
    help="What is a dataset worth, and how long should it be upsampled?",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_WELCOME = """\
joyctl: what is a dataset worth, and how long should it be upsampled?

  joyctl sweep                     the demo campaign on this machine, about 6 minutes, no network
  joyctl ablate --drop math        what the demo loses without its math
  joyctl probe --add math          what a phase with 30 % of it would gain
  joyctl report                    the comparison so far

  joyctl plan my-recipe.yaml       yours: look first, nothing is trained
  joyctl sweep my-recipe.yaml --cluster my-cluster.yaml --dry-run     on Slurm: look first
  joyctl --help                    all commands
"""


@app.callback(invoke_without_command=True)
def welcome(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """What is a dataset worth, and how long should it be upsampled?"""
    if version:
        from joyctl import __version__

        typer.echo(f"joyctl {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(_WELCOME, nl=False)


app.command("plan")(campaigns.plan)
app.command("sweep")(campaigns.sweep)
app.command("ablate")(campaigns.ablate)
app.command("probe")(campaigns.probe)
app.command("status")(results.status)
app.command("report")(reporting.report)
app.command("compare")(compare.compare)
app.command("logs")(jobs.logs)
app.command("cancel")(jobs.cancel)
app.command("doctor")(doctor.doctor)
app.command("eval")(scoring.evaluate)
app.command("eval-code")(code.eval_code)
app.command("show")(recipes.show)
app.command("schema")(recipes.schema)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point: errors a user can meet become one message and their exit code."""
    try:
        app()
    except JoyctlError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (`joyctl report | head`) has gone; nothing is wrong.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if (said := _said_of_disk(error)) is None:
            raise
        typer.echo(said, err=True)
        sys.exit(Missing.exit_code)


def _said_of_disk(error: OSError) -> str | None:
    """What a user is told of a disk that is full or a place that cannot be written to; None for what is a bug."""
    from joyctl.store.files import DENIED

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return f"no space left{where}: {error.strerror}\nMake room; the same command goes on."
    if error.errno in (*DENIED, errno.ENOTDIR) and error.filename:
        remedy = "Mend that, or name another folder, as with --results DIR or --data DIR; the same command goes on."
        return f"{error.filename} cannot be used: {error.strerror}\n{remedy}"
    return None
