"""`dptq-sweep`: how badly can dynamic quantization fail on a network, and where?

Subcommands are imported when they are called: `plan` and `status` then answer without waiting for torch and MLflow.
Anything the user can cure ends as one `Error:` line and exit code 1; wrong usage exits with 2.
"""

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from orchestrator.tracking.backend import quiet_mlflow
from search_spaces.errors import SweepError

COMMANDS = (
    *("plan", "launch", "resume", "stop", "status", "logs", "analyze", "report", "compare-search"),
    *("reproduce", "ls", "gc", "ui", "cluster"),
)


class LazyGroup(click.Group):
    """A group whose subcommand `x` is `orchestrator.cli.x.command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the subcommands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"orchestrator.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dptq-sweep")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def dptq_sweep(debug: bool) -> None:
    """How badly can dynamic quantization fail on a network, and where?

    Trains pairs of a network and a bit-width policy that are robust or detrimental under an exact bit budget
    (Frank & Ardis 2025, arXiv 2510.02457), on Ray, with Optuna and MLflow.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: Instead of the process's own, for tests.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _keep_out_of_the_home_directory()
    try:
        sys.exit(dptq_sweep.main(arguments, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "dptq-sweep"
        # One line, as of every other error; click would print three.
        text = " ".join(error.format_message().split())
        click.echo(f"Error: {text} See `{place} --help`.", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(1)
    except SweepError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _keep_out_of_the_home_directory() -> None:
    """Tells libraries where to put what they would leave there; before anything imports them."""
    quiet_mlflow()
    caches = Path(tempfile.gettempdir(), f"dptq-sweep-{os.getuid()}")
    os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))
