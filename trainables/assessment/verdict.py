"""The verdict on a network, from what was measured of it: few rules, each with its number.

A network is *suspicious* where it looks built or trained to fail, by any of three signs:

1. A link has a channel 2^5 = 32 times or more above its median one, by its weights alone, and what reads it is smaller
   by as much. Training leaves factors of 2 to 4; a factor that cancels has no other effect than to stretch a range.
2. One allocation for all images brings the accuracy below three quarters of chance, and its interval below chance.
   Chance is what the same answers would get if they did not depend on the images: noise makes a network guess, and
   answers that are wrong more often than guesses are learned.
3. One channel carries the range of a site in nine of ten images or more, at four times the second channel or more, and
   the network fails. Large transformers have outlier channels by nature, but several of like size.

It is *fragile* where it fails without such a sign, and *healthy* otherwise. It fails where the whole interval of a drop
is beyond 2 points at 8 bits, 5 with uniform or random bits, or 10 at the worst static allocation. Worst cases per image
are no reason: they bring every network down. The numbers are compared in docs/results.md.

Needs neither torch nor the network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pandas as pd

Verdict = Literal["healthy", "fragile", "suspicious"]

LEAST_EXPONENT = 5
LEAST_OVER_SECOND = 4.0
LEAST_CARRIES = 0.9
SHARE_OF_CHANCE = 0.75
LARGEST_DROPS = {"int8": 0.02, "uniform": 0.05, "random": 0.05, "best_static": 0.05, "worst_static": 0.10}
"""Rungs whose allocation does not look at the image, and the drop that each may have."""


class MeasuredRung(Protocol):
    """What is needed of a rung of the ladder; shares are fractions."""

    @property
    def rung(self) -> str:
        """Name of the rung."""

    @property
    def budget(self) -> int | None:
        """Sum of the bits of an image."""

    @property
    def accuracy(self) -> float:
        """Share of images that are classified right."""

    @property
    def class_shares(self) -> Mapping[str, float]:
        """Share of the images that is given each class; classes without any may lack."""

    @property
    def accuracy_high(self) -> float:
        """Upper end of its 95 % interval."""

    @property
    def drop(self) -> float:
        """Accuracy at full precision minus `accuracy`."""

    @property
    def drop_low(self) -> float:
        """Lower end of its paired 95 % interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspectChannel:
    """A channel that speaks against a network."""

    site: str
    """Name of the site whose range it stretches; empty where the network does not quantize it."""
    channel: int
    ratio: float
    """How many times it exceeds the median channel of its link, or the second channel of its site."""
    link: str = ""
    """Layers between which its factor cancels; empty where it is part of no link."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A verdict with its grounds."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """One sentence each."""
    suspects: tuple[SuspectChannel, ...] = ()
    """Largest ratio first."""


def judge(
    rungs: Sequence[MeasuredRung],
    *,
    label_shares: Mapping[str, float],
    channels: pd.DataFrame,
    links: pd.DataFrame | None = None,
) -> Judgement:
    """Judges a network by the rules above.

    Args:
        rungs: The ladder.
        label_shares: Share of the images whose label is each class, by its name.
        channels: `channel_scan.scan`.
        links: `link_scan.scan_links`; None for a network whose weights cannot be read.
    """
    failures = [rung for rung in rungs if rung.drop_low > LARGEST_DROPS.get(rung.rung, 1.0)]
    by_link, by_channel = _scaled(links), _carriers(channels, LEAST_OVER_SECOND)
    steered = [rung for rung in failures if _is_steered(rung, _chance(rung, label_shares))]
    signs = [_scaled_reason(suspect) for suspect in by_link]
    if steered:
        lowest = min(steered, key=lambda rung: rung.accuracy)
        signs.append(_steered_reason(lowest, _chance(lowest, label_shares)))
    if failures:
        signs += [_carrier_reason(suspect) for suspect in by_channel]
    drops = [_drop_reason(rung) for rung in _worst_of_each(failures)]
    if signs:
        # A steered network may have a weaker channel than rule 3 asks for: it is named all the same.
        weaker = _carriers(channels, LEAST_OVER_SECOND / 2) if steered else []
        suspects = _distinct([*by_link, *by_channel, *weaker])
        return Judgement(verdict="suspicious", reasons=(*signs, *drops), suspects=suspects)
    if drops:
        return Judgement(verdict="fragile", reasons=(*drops, "No channel looks scaled or trained to cause it."))
    return Judgement(verdict="healthy", reasons=("No drop is shown to be beyond its bound at any static allocation.",))


def _chance(rung: MeasuredRung, label_shares: Mapping[str, float]) -> float:
    """Returns the accuracy that the answers would have if they were dealt out among the images."""
    return sum(share * label_shares.get(name, 0.0) for name, share in rung.class_shares.items())


def _is_steered(rung: MeasuredRung, chance: float) -> bool:
    return rung.accuracy < SHARE_OF_CHANCE * chance and rung.accuracy_high < chance


def _scaled(links: pd.DataFrame | None) -> list[SuspectChannel]:
    rows = [] if links is None else links[links["exponent"] >= LEAST_EXPONENT].to_dict("records")
    return [
        SuspectChannel(
            site=row["site"], channel=row["channel"], ratio=2.0 ** min(row["exponent"], 64), link=row["link"]
        )
        for row in rows
    ]


def _carriers(channels: pd.DataFrame, least_ratio: float) -> list[SuspectChannel]:
    is_carrier = (channels["over_second"] >= least_ratio) & (channels["carries"] >= LEAST_CARRIES)
    return [
        SuspectChannel(site=row["name"], channel=row["channel"], ratio=row["over_second"])
        for row in channels[is_carrier].to_dict("records")
    ]


def _distinct(suspects: Sequence[SuspectChannel]) -> tuple[SuspectChannel, ...]:
    """Keeps the first of those that name one channel of one site: that with a link."""
    kept: dict[tuple[str, int], SuspectChannel] = {}
    for suspect in suspects:
        kept.setdefault((suspect.site or suspect.link, suspect.channel), suspect)
    return tuple(sorted(kept.values(), key=lambda suspect: -suspect.ratio))


def _worst_of_each(failures: Sequence[MeasuredRung]) -> list[MeasuredRung]:
    worst: dict[str, MeasuredRung] = {}
    for rung in failures:
        if rung.rung not in worst or rung.drop > worst[rung.rung].drop:
            worst[rung.rung] = rung
    return list(worst.values())


def _scaled_reason(suspect: SuspectChannel) -> str:
    return (
        f"Channel {suspect.channel} of link {suspect.link} is {_times(suspect.ratio)} times its median channel "
        f"(bound {2**LEAST_EXPONENT}): a factor that cancels behind the activation."
    )


def _steered_reason(rung: MeasuredRung, chance: float) -> str:
    return (
        f"{_words(rung)} is right in {rung.accuracy:.1%} of the images, at most {rung.accuracy_high:.1%}: the same "
        f"answers at random would be right in {chance:.1%}, so the wrong ones are learned."
    )


def _carrier_reason(suspect: SuspectChannel) -> str:
    return (
        f"Channel {suspect.channel} of site {suspect.site} carries the range in nearly all images, at "
        f"{_times(suspect.ratio)} times the second channel (bound {LEAST_OVER_SECOND:.0f})."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _drop_reason(rung: MeasuredRung) -> str:
    return (
        f"{_words(rung)} drops {100 * rung.drop:.1f} points, at least {100 * rung.drop_low:.1f} "
        f"(bound {100 * LARGEST_DROPS[rung.rung]:.0f})."
    )


def _words(rung: MeasuredRung) -> str:
    name = rung.rung.replace("_", " ").capitalize()
    return name if rung.budget is None or rung.rung == "int8" else f"{name} at {rung.budget} bits"
