"""How `--help` is laid out: options under headings, commands in the order of use, and summaries whole."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import click

OTHER = "Other"
HEADINGS = ("What", "Search", "Where", "Limits", "Estimate", OTHER)
"""In the order in which a command shows them."""
Function = Callable[..., Any]
Decorator = Callable[[Function], Function]
RENAMED = {"compare-search": "compare"}
"""Commands by the names that they had, with those that they have."""
_UNCUT = 1000
"""Letters; click would end longer summaries with dots."""


class Option(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *declarations: Any, heading: str = OTHER, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.heading = heading


class GroupedCommand(click.Command):
    """A command with so many options that they need headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under their headings."""
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections[getattr(parameter, "heading", OTHER)].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class Group(click.Group):
    """A group that lists its commands in the order in which they were added, which is that of use."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; of a name that it had before says the one that it has."""
        now = RENAMED.get(args[0]) if args else None
        if now in self.commands:
            raise click.UsageError(f"`{args[0]}` is called `{now}` now.", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the first sentence of every command's help, however many lines it takes."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(_UNCUT)) for name, each in self.commands.items()])


what, search, where, limit, estimate, other = (partial(click.option, cls=Option, heading=each) for each in HEADINGS)
"""Decorators that declare an option, by its heading."""


def together(*options: Decorator) -> Decorator:
    """Returns one decorator that adds several options, shown in this order."""
    return lambda function: reduce(lambda decorated, option: option(decorated), reversed(options), function)
