"""Command lines that are made up end in success or in one line, never in a traceback."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import dptq_sweep, main
from search_spaces.errors import MAX_TEXT

# Commands that neither start Ray or a server, nor ask one. `launch` only shows its plan here.
COMMANDS: dict[str, tuple[str, ...]] = {"plan": (), "launch": ("--dry-run",)} | {
    name: ()
    for name in ("status", "stop", "logs", "report", "resume", "analyze", "reproduce", "export", "verify", "ls", "gc")
}
NOT_TYPED = {"help", "download", "address"}
"""What asks the network."""
LONG = "z" * 5000
ODD = [
    *("", " ", "a b", "a" * 300, LONG, "\u202e", "\udcff", "\ud800", "a\0b", "a\nb", "[1, 2"),
    *"""
    0 -1 1.5 1e309 nan inf -inf 18446744073709551616 0x10 1_000 ١٢ true yes null - -- = a=b , ' " $(x) ü 😀
    ../x /dev/null /proc/self/mem . ~ x.yaml x.safetensors x.onnx onnx:x folder: folder:. parquet:x a%20b a?b#c
    s3:/x x://y sqlite:/// smoke quick full digits resnet10t test_resnet robust 3..10 4-10 82 teacher/0 pair/../x
    pair.epochs=2 pair.epochs=0 pair.epochs=on pair.lr=.inf search.trials=[1 teacher={ seeds=[] =1 pair.=1 dataset=1e3
    """.split(),
]

USUAL = {
    "integer range": ["1", "2", "4"],
    "integer": ["1", "2", "4"],
    "float range": ["0.5", "1"],
    "float": ["0.5", "1"],
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, some of its options with values of their kind or odd ones, and an odd argument or none."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    command, line = dptq_sweep.commands[name], [name, *COMMANDS[name]]
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in NOT_TYPED]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)):
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag and not option.count:
            usual = option.type.choices if isinstance(option.type, click.Choice) else USUAL.get(option.type.name, ODD)
            values = st.sampled_from(usual) | st.sampled_from(ODD)
            line += draw(st.tuples(*[values] * option.nargs))
    return [*line, *draw(st.lists(st.sampled_from(ODD), max_size=1))]


@pytest.fixture(scope="module", autouse=True)
def _workplace() -> Iterator[None]:
    """An empty folder, in which nothing of that exists."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DPTQ_STORAGE", "DPTQ_DATA_DIR", "DPTQ_TRACKING_URI", "DPTQ_ON_EVENT"):
            patch.delenv(name, raising=False)
        Path("dptq-sweeps").mkdir()
        yield


@example(["launch", "--dry-run", "--data-dir", "a\0b"])
@example(["launch", "--dry-run", "--data-dir", "\ud800"])
@example(["plan", LONG])
@example(["gc", "--storage", LONG])
@example(["logs", LONG])
@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(command_lines())
def test_made_up_command_lines_end_in_success_or_in_one_line(line: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(line)
    *notes, last = err.getvalue().splitlines() or [""]
    if end.value.code == 0:
        return
    assert end.value.code in (1, 2)
    assert last.startswith("Error: "), err.getvalue()
    assert len(last) < (MAX_TEXT + 100 if LONG in line else 1000)
    assert not [note for note in notes if note.startswith((" ", "Traceback"))], err.getvalue()
