"""`dptq-sweep reproduce`: run one finished trial again and compare it with the store."""

import os
import sys
from pathlib import Path

import click

from orchestrator.cli.completion import uids
from orchestrator.cli.options import data_dir_option, storage_option, trust_option
from search_spaces.errors import ConfigError
from search_spaces.files.scratch import scratch_folder

MAX_LINES = 10


@click.command("reproduce")
@click.argument("trial", metavar="UID", shell_complete=uids)
@storage_option
@trust_option
@data_dir_option
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the new result. [default: none is kept]")
def command(trial: str, storage: str, data_dir: Path, keep: Path | None) -> None:
    """Run a finished trial again from its stored recipe, in this process, and compare metrics and checkpoint.

    On a CPU they must be equal bit by bit; where a GPU took part, accuracies must agree within 0.02. Exits with 1 where
    they differ, and says what does.
    """
    from cluster.runtime.session import WORKER_ENVIRONMENT
    from orchestrator.store.inventory import find_trial
    from orchestrator.store.store import Store

    store = Store(storage, create=False)
    folder = find_trial(store, trial)
    if keep and Store(str(keep), create=False).uri == store.uri:
        raise ConfigError(f"--keep {keep} is the storage itself, whose trial is compared: name another folder.")
    # As in a worker, and before torch is imported: another number of threads sums in another order.
    os.environ.update(WORKER_ENVIRONMENT)
    from orchestrator.launch.reproduction import reproduce

    with scratch_folder() as scratch:
        found = reproduce(folder, store, Store(str(keep or scratch)), str(data_dir.absolute()), click.echo)
    for line in found.environment:
        click.echo(f"different: {line}")
    for name, lines in (("metrics", found.metrics), ("tensors", found.tensors)):
        for line in lines[:MAX_LINES]:
            click.echo(f"  {line}")
        if len(lines) > MAX_LINES:
            click.echo(f"  and {len(lines) - MAX_LINES} {name} more")
    how = f"within {found.tolerance}" if found.tolerance else "bit by bit"
    verdict = "reproduced" if found.is_equal else "NOT reproduced"
    click.echo(f"{verdict} {how}: {len(found.metrics)} metrics and {len(found.tensors)} tensors differ")
    if not found.is_equal:
        sys.exit(1)
