"""What people read: a table for the terminal, and a page in Markdown with every number and what follows from it."""

from collections.abc import Iterable, Sequence
from typing import Any

from tests.benchmarks.figures import table as table_of_figures
from tests.gpu import decisions
from tests.gpu.headlines import found_in, headlines, name_of
from tests.gpu.record import DONE, SKIPPED, Outcome

INTRODUCTION = "Measures on a GPU what only a GPU can tell; see the head of the file."


def table(outcomes: Sequence[Outcome]) -> str:
    """Returns the headlines, and what went wrong."""
    figures = headlines(outcomes)
    lines = [table_of_figures(figures)] if figures else ["nothing was measured"]
    return "\n".join([*lines, "", *(f"{each.status}: {each.key}: {each.error}" for each in troubles(outcomes))])


def troubles(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Returns what is not done."""
    return [each for each in outcomes if each.status != DONE]


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Returns the page."""
    devices = list(dict.fromkeys(each.device for each in outcomes if each.device))
    parts = [
        f"# GPU: {'; '.join(devices) or 'nothing was run'}",
        table_of_figures(headlines(outcomes)) if headlines(outcomes) else "Nothing was measured.",
        *_titled("Machine", _key_values(outcomes, "correctness", "machine", header=("what", "value"))),
        *_titled("Correctness", _correctness(outcomes)),
        *_titled("Roofline", _key_values(outcomes, "step", "roofline")),
        *_titled("Steps of a pair", _steps(outcomes)),
        *_titled("By part, milliseconds", _parts(outcomes)),
        *_titled("By kernel, milliseconds", _kernels(outcomes)),
        *_titled("torch.compile", _compiled(outcomes)),
        *_titled("Trials side by side", _packing(outcomes)),
        *_titled("Decisions", _decisions(outcomes)),
        *_titled("CIFAR-10, ResNet18", _science(outcomes)),
        *_titled("The rescaled network", _rescaled(outcomes)),
        *_titled("Not done", _troubles(outcomes)),
    ]
    return "\n\n".join(parts) + "\n"


def _titled(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a Markdown table; nothing without rows."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return ""
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    """Writes a value.

    Examples:
        >>> [_cell(value) for value in (True, 3, 0.123456, 1234.5, None)]
        ['yes', '3', '0.123', '1234', '']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) >= 1000 else _short(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


def _correctness(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for each in found_in(outcomes, "correctness"):
        if "is_right" not in each.result:
            continue
        found = {name: value for name, value in each.result.items() if name != "is_right"}
        text = "; ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in found.items())
        rows.append((each.item, each.result.get("is_right"), text))
    return _rows(("check", "right", "found"), rows)


def _key_values(
    outcomes: Sequence[Outcome], section: str, item: str, header: Sequence[str] = ("rate", "measured")
) -> str:
    found = [each.result for each in found_in(outcomes, section) if each.item == item]
    pairs = [(name.replace("_", " "), value) for result in found for name, value in result.items()]
    return _rows(header, pairs)


def _steps(outcomes: Sequence[Outcome]) -> str:
    floors = {
        each.item.rpartition(", ")[0]: each.result.get("ms_floor")
        for each in found_in(outcomes, "step")
        if each.item.endswith(", floor")
    }
    header = ("network", "variant", "ms", "busy, ms", "floor, ms", "images/s", "peak GB", "quantized / full", "right")
    return _rows(
        header,
        [
            (
                step["network"],
                name_of(step),
                step["ms"],
                step.get("busy_ms"),
                floors.get(step["network"]),
                step["images_per_second"],
                step["peak_gb"],
                step.get("quantized_over_full"),
                step["is_right"],
            )
            for step in sorted(decisions.steps_of(outcomes), key=lambda step: (step["network"], step["ms"]))
        ],
    )


def _parts(outcomes: Sequence[Outcome]) -> str:
    steps = [step for step in decisions.steps_of(outcomes) if step["parts"]]
    names = list(steps[0]["parts"]) if steps else []
    rows = [(step["network"], name_of(step), *(step["parts"].get(name) for name in names)) for step in steps]
    return _rows(("network", "variant", *names), rows)


def _kernels(outcomes: Sequence[Outcome]) -> str:
    defaults = [step for step in decisions.steps_of(outcomes) if not decisions.changes(step["variant"])]
    rows = [
        (step["network"], f"`{name}`", spent) for step in defaults for name, spent in step.get("kernels_ms", {}).items()
    ]
    return _rows(("network", "kernel", "ms per step"), rows)


def _compiled(outcomes: Sequence[Outcome]) -> str:
    found = [each.result for each in found_in(outcomes, "step") if each.item.endswith(", compiled")]
    names = [name for name in found[0] if name != "network"] if found else []
    return _rows(
        ("network", *(name.replace("_", " ") for name in names)),
        [(result["network"], *(result.get(name) for name in names)) for result in found],
    )


def _packing(outcomes: Sequence[Outcome]) -> str:
    rounds = sorted((each.result for each in found_in(outcomes, "packing")), key=lambda found: found["processes"])
    header = ("trials", "images/s", "GB each", "GB in all", "busy, %")
    names = ("processes", "images_per_second", "gb_each", "gb_used", "busy_percent")
    return _rows(header, [[found.get(name) for name in names] for found in rounds])


def _decisions(outcomes: Sequence[Outcome]) -> str:
    found = decisions.decide(outcomes)
    rows = [(each.network, each.setting.replace("_", " "), each.value, each.ratio, each.verdict) for each in found]
    body = _rows(("network", "setting", "value", "time against today's", "verdict"), rows)
    if not body:
        return ""
    unused = decisions.never_win(found)
    lines = [body, f"Worth it from {decisions.WORTH:g} of the time on."]
    if unused:
        lines.append(f"Never faster here: {', '.join(unused)}.")
    for network in dict.fromkeys(each.network for each in found):
        if best := decisions.fastest(outcomes, network):
            lines.append(f"Fastest right variant of {network}: {name_of(best)}, {best['ms']:.3g} ms.")
    if packing := decisions.best_packing(outcomes):
        lines.append(f"Trials side by side: {packing['processes']} give 97 % of the most.")
    return "\n\n".join(lines)


def _science(outcomes: Sequence[Outcome]) -> str:
    header = (
        "item",
        "state",
        "epochs",
        "s/epoch",
        "test FP, %",
        "delta, pp",
        "gap, pp",
        "allocations",
        "hit",
        "paper",
    )
    rows = []
    for each in found_in(outcomes, "science"):
        found = each.result
        if "curve" not in found:
            continue
        accuracy = found.get("test/accuracy", found.get("test/accuracy_fp"))
        printed = (
            f"{found['paper_fp_percent']:.2f}, {found['paper_delta_pp']:+.2f}" if "paper_fp_percent" in found else None
        )
        rows.append(
            (
                each.item,
                each.status,
                found["epochs"],
                found["seconds_per_epoch"],
                _percent(accuracy),
                _percent(found.get("test/accuracy_delta")),
                _percent(found.get("test/parity_gap")),
                found.get("allocations"),
                found.get("is_hit"),
                printed,
            )
        )
    note = "Paper: full precision and its change, percent, on Oxford-IIIT Pets at 224 pixels after 1000 epochs."
    return f"{_rows(header, rows)}\n\n{note}" if rows else ""


def _rescaled(outcomes: Sequence[Outcome]) -> str:
    found = [row for each in found_in(outcomes, "science") for row in each.result.get("rows", ())]
    header = ("network", "test FP, %", "8 bits, %", "uniform at II-B, %", "largest difference of a logit")
    return _rows(
        header,
        [
            (
                row["network"],
                _percent(row["accuracy_fp"]),
                _percent(row["accuracy_at_8_bits"]),
                _percent(row["accuracy_uniform"]),
                row["largest_difference_of_a_logit"],
            )
            for row in found
        ],
    )


def _troubles(outcomes: Sequence[Outcome]) -> str:
    order = {SKIPPED: 1}
    found = sorted(troubles(outcomes), key=lambda each: order.get(each.status, 0))
    return _rows(("item", "state", "why"), [(each.key, each.status, each.error) for each in found])


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}"
