"""Checks that a command line which people are told to type would be understood."""

import shlex

import click

from orchestrator.cli.main import dptq_sweep


def parse_command(line: str) -> None:
    """Parses `dptq-sweep ...` without running it; also the command behind `--`, which goes to a cluster.

    Raises:
        click.UsageError: It would be refused.
    """
    program, *arguments = shlex.split(line)
    assert program == "dptq-sweep"
    command: click.Command = dptq_sweep
    name, context = program, dptq_sweep.make_context(program, ["plan"])
    while isinstance(command, click.Group):
        if not arguments:
            raise click.UsageError(f"{line!r} names no command")
        name, *arguments = arguments
        inner = command.get_command(context, name)
        if inner is None:
            raise click.UsageError(f"{line!r}: there is no command {name!r}")
        command = inner
    # Below the group, whose settings a command has in use: click keeps the first help option that it makes of them.
    command.make_context(name, list(arguments), parent=context)
    if "--" in arguments:
        parse_command(shlex.join(("dptq-sweep", *arguments[arguments.index("--") + 1 :])))
