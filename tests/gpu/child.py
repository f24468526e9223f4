"""The process of one section: runs its items one by one, and writes every outcome before the next begins."""

import ctypes
import importlib
import os
import platform
import signal
import sys
import time
import traceback
from pathlib import Path

from tests.gpu.jobs import BROKEN, Context, Item, Job, NotHereError, UnfinishedError
from tests.gpu.record import DONE, FAILED, RUNNING, SKIPPED, UNFINISHED, Outcome, Record

_PR_SET_PDEATHSIG = 1


def main(job: Job) -> int:
    """Runs a section; returns the exit status."""
    die_with_parent()
    # Not before: it takes seconds, in which the parent may end.
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu {platform.machine()}"
    device_name = f"{name}, torch {torch.__version__}" + (", tiny" if job.is_tiny else "")
    record = Record(Path(job.work))
    if job.is_tiny and job.section.is_interpreted and device.type == "cpu":
        # Before the section imports Triton, which decides then.
        os.environ["TRITON_INTERPRET"] = "1"
    context = Context(
        device=device,
        is_tiny=job.is_tiny,
        deadline=job.deadline,
        brought=Path(job.brought),
        work=Path(job.work),
        folder=Path(job.folder),
        record=record,
    )
    for item in importlib.import_module(job.section.module).items(context):
        if time.time() > job.deadline:
            return 0
        if not is_settled(record.find(job.section.name, item.name), job, device_name):
            run_item(item, job, context, device_name)
            if device.type == "cuda" and _is_context_lost(torch):
                return BROKEN
    return 0


def is_settled(outcome: Outcome | None, job: Job, device: str) -> bool:
    """Tells whether an item needs no run: it is done, or was tried in this call already."""
    if outcome is None:
        return False
    is_valid = not job.section.is_repeated and (outcome.device == device or not job.section.is_measured)
    return outcome.call == job.call or (outcome.status == DONE and is_valid)


def run_item(item: Item, job: Job, context: Context, device: str) -> None:
    """Runs an item and writes what became of it."""
    start = time.time()
    limit = min(item.seconds, job.deadline - start)

    def write(status: str, *, result: dict[str, object] | None = None, error: str = "") -> None:
        context.record.write(
            Outcome(
                section=job.section.name,
                item=item.name,
                status=status,
                call=job.call,
                started=start,
                limit=limit,
                seconds=time.time() - start,
                device=device,
                result=result or {},
                error=error,
            )
        )

    write(RUNNING)
    here = Context(
        **{name: getattr(context, name) for name in Context.__dataclass_fields__} | {"deadline": start + limit}
    )
    try:
        result = item.run(here)
    except NotHereError as reason:
        write(SKIPPED, error=str(reason))
    except UnfinishedError as end:
        write(UNFINISHED, result=end.result, error=str(end))
    # One item must never take the others along, whatever it raises.
    except Exception as error:
        traceback.print_exc()
        write(FAILED, error=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    else:
        write(DONE, result=result)


def die_with_parent() -> None:
    """Lets the system end this process when the one that started it ends, however it does."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


def _is_context_lost(torch: object) -> bool:
    """Tells whether a kernel has failed in a way that every later call of this process repeats."""
    try:
        torch.cuda.synchronize()  # type: ignore[attr-defined]
        torch.zeros(1, device="cuda").item()  # type: ignore[attr-defined]
    except Exception:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(Job.from_json(sys.argv[2])))
