"""`dptq-sweep`: how badly can dynamic quantization fail on a network, and where?

Help, completion and wrong usage answer at once: modules of commands import at their top only what declares options, and
inside of a command what it needs to run. Anything the user can fix ends as one `Error:` line and exit code 1; wrong
usage exits with 2.
"""

import os
import sys
import tempfile
import traceback
from contextlib import suppress

import click

from cluster.runtime.ray_internals import without_crash_handler
from orchestrator.cli.cluster import group
from orchestrator.cli.help import Group
from orchestrator.cli.network import assess, export, verify
from orchestrator.cli.storage import gc, ls, ui
from orchestrator.cli.sweep import analyze, compare, launch, logs, plan, report, reproduce, resume, status, stop
from orchestrator.tracking.environment import quiet_mlflow
from search_spaces.errors import MAX_TEXT, ConfigError, SweepError, one_line, shortened, shown
from search_spaces.uris import TRUSTED_HOSTS, named_hosts


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dptq-sweep")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def dptq_sweep(debug: bool) -> None:
    """How badly can dynamic quantization fail on a network, and where?

    Trains pairs of a network and a bit-width policy that are robust or detrimental under an exact bit budget
    (Frank & Ardis 2025, arXiv 2510.02457), on Ray, with Optuna and MLflow.
    """


IN_ORDER = (
    plan,
    launch,
    assess,
    resume,
    stop,
    status,
    logs,
    analyze,
    report,
    compare,
    reproduce,
    export,
    verify,
    ls,
    gc,
    ui,
    group,
)
for module in IN_ORDER:
    dptq_sweep.add_command(module.command)
COMMANDS = tuple(dptq_sweep.commands)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: Instead of the process's own, for tests.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _keep_out_of_the_home_directory()
    without_crash_handler()
    # What a storage says of hosts is another matter: see `check_host`.
    os.environ[TRUSTED_HOSTS] = ",".join(sorted(named_hosts(arguments, os.environ)))
    try:
        _check_working_directory()
        _check_letters(arguments)
        # By this name, because the shell completes it, and every error says what to type.
        code = dptq_sweep.main(arguments, prog_name="dptq-sweep", standalone_mode=False) or 0
        # Here, where an error is still told in one line.
        sys.stdout.flush()
        sys.exit(code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "dptq-sweep"
        # One line, as of every other error; click would print three.
        text = shortened(" ".join(error.format_message().split()), MAX_TEXT)
        click.echo(f"Error: {text} See `{place} --help`.", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader has gone, as `head` does: nobody is left to tell.
        _discard_output()
        sys.exit(1)
    except (SweepError, OSError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        if isinstance(error, OSError):
            _discard_output()
            click.echo(f"Error: {shortened(one_line(error), MAX_TEXT)}", err=True)
        else:
            click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the working directory was removed: change to one that exists.") from None


def _check_letters(arguments: list[str]) -> None:
    """Refuses what no shell can hand over, but a program that calls this one can: no path takes it."""
    for argument in arguments:
        try:
            is_text = b"\0" not in os.fsencode(argument)
        except UnicodeEncodeError:
            is_text = False
        if not is_text:
            raise ConfigError(f"{shown(argument)} holds a letter that no file's name takes: leave it out.")


def _discard_output() -> None:
    """Lets what is still to be written go nowhere; Python would try once more at its end, and print a traceback."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _keep_out_of_the_home_directory() -> None:
    """Tells libraries where to put what they would leave there; before anything imports them."""
    quiet_mlflow()
    caches = os.path.join(tempfile.gettempdir(), f"dptq-sweep-{os.getuid()}")
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(caches, "matplotlib"))
