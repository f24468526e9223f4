"""Options that say how far one launch goes and whom it tells."""

from dataclasses import dataclass
from typing import Any

import click

from orchestrator.caps import Caps
from orchestrator.commands.costs import caps_from_options, cluster_options
from orchestrator.commands.options import Command, price_option, verify_option
from orchestrator.events import check_target
from orchestrator.sweeps import STALLED_MINUTES, LaunchOptions

POSITIVE = click.FloatRange(min=0, min_open=True)
NOTHING_KEPT = LaunchOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far one launch goes and whom it tells. `resume` has it again, but for `on_event` and `verify`."""

    caps: Caps
    on_event: str | None
    """Empty if the user wants nobody to be told; None if nothing was said."""
    stalled_minutes: float
    verify: bool
    """Compare the files of finished trials with their checksums first."""


def limit_options(command: Command) -> Command:
    """Adds the options from which `limits_of` makes the limits of a launch."""
    for option in reversed(
        (
            click.option("--max-hours", type=POSITIVE, help="Start no trial after so many hours; `resume` goes on."),
            click.option("--max-gpu-hours", type=POSITIVE, help="Start no trial after so many GPU-hours of the sweep."),
            click.option(
                "--max-cost",
                type=POSITIVE,
                help="Start no trial once the sweep cost so much, at --price-per-hour or --cluster.",
            ),
            price_option,
            *cluster_options,
            click.option(
                "--on-event",
                envvar="DPTQ_ON_EVENT",
                help="Shell command (with DPTQ_EVENT set and JSON on its input) or http(s) URL (gets a POST) to tell "
                "of failed trials, a cap, a stall and the end. Never kept: give it to `resume` again. "
                "[env: DPTQ_ON_EVENT]",
            ),
            click.option(
                "--stalled-minutes",
                type=POSITIVE,
                help="Without any finished epoch, after which --on-event hears of a stall. "
                f"[default: {STALLED_MINUTES:g}]",
            ),
            verify_option,
        )
    ):
        command = option(command)
    return command


def limits_of(values: dict[str, Any], kept: LaunchOptions = NOTHING_KEPT) -> Limits:
    """Takes the values of `limit_options` out of a command's arguments.

    Args:
        values: The arguments.
        kept: Of an earlier launch, what applies where the arguments say nothing.

    Raises:
        ConfigError: --on-event is neither a command nor a URL, or a file with prices or machines is wrong.
    """
    limits = Limits(
        caps=caps_from_options(values, kept.caps),
        on_event=values.pop("on_event"),
        stalled_minutes=values.pop("stalled_minutes") or kept.stalled_minutes,
        verify=values.pop("verify"),
    )
    check_target(limits.on_event)
    return limits
