"""What the shell offers while a command is typed: reads names of folders, asks no network, raises nothing.

Object stores are left out: a listing takes longer than anybody waits for a key.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator

import click
from click.shell_completion import CompletionItem

from orchestrator.store.defaults import STORAGE
from search_spaces.dataset_kinds import DATASETS
from search_spaces.names import GRIDS

_NO_TRIALS = ("sweeps", "analysis")
_UID = re.compile("[0-9a-f]{16}")


def sweeps(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offers the sweeps of the storage that the command line or the environment names."""
    return _offer(_folders(context, "sweeps"), begun)


def uids(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offers the trials of the storage, with the stage of each."""
    stages = [stage for stage in _folders(context) if stage not in _NO_TRIALS]
    found = ((uid, stage) for stage in stages for uid in _folders(context, stage) if _UID.fullmatch(uid))
    return [CompletionItem(uid, help=stage) for uid, stage in found if uid.startswith(begun)]


def grids(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offers the named grids and grid files."""
    files = (path for ending in ("yaml", "yml") for path in glob.glob(f"{glob.escape(begun)}*.{ending}"))
    return _offer([*GRIDS, *sorted(files)], begun) or _files(begun)


def datasets(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offers the kinds of datasets, and behind a kind the shell's own files."""
    return _offer((f"{kind}:" if info.place else kind for kind, info in DATASETS.items()), begun) or _files(begun)


def _offer(names: Iterable[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _files(begun: str) -> list[CompletionItem]:
    return [CompletionItem(begun, type="file")]


def _folders(context: click.Context, inside: str = "") -> Iterator[str]:
    """Yields the names of folders in a local storage; none where there is no such folder."""
    storage = (context.params.get("storage") or STORAGE).removeprefix("file://")
    try:
        entries = sorted(os.scandir(os.path.join(os.path.expanduser(storage), inside)), key=lambda entry: entry.name)
    except OSError:
        return
    yield from (entry.name for entry in entries if entry.is_dir())
