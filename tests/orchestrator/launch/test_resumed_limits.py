"""`resume` has the caps of the launch again, what is given again wins, and the target of events is never kept."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.sweep import launch, resume
from orchestrator.launch import driver as running
from orchestrator.launch.ending import finish
from orchestrator.launch.tuner import Launch
from orchestrator.store.defaults import STALLED_MINUTES
from orchestrator.store.store import Store
from orchestrator.store.sweep import LAUNCH, Caps, Sweep

SECRET_URL = "https://hooks.example.com/services/T0/secret-token"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """Launches that would have run; all but Ray and the trials is real."""
    launches: list[Launch] = []

    def remember(launched: Launch, *_: Any, **__: Any) -> None:
        launches.append(launched)

    monkeypatch.delenv("DPTQ_ON_EVENT", raising=False)
    monkeypatch.setattr(running, "run_sweep", remember)
    monkeypatch.setattr(finish, "finish_sweep", lambda *_: None)
    return launches


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "storage")


def call(module: Any, storage: str, *arguments: str) -> Result:
    where = ["--grid", "smoke"] if module is launch else ["smoke"]
    result = CliRunner().invoke(module.command, [*where, "--storage", storage, *arguments])
    assert result.exit_code == 0, result.output
    return result


def kept(storage: str) -> str:
    return (Path(storage) / "sweeps" / "smoke" / LAUNCH).read_text()


def caps_of(launched: Launch) -> Caps:
    return launched.meter._caps


def test_caps_apply_again_and_resume_says_which(begun: list[Launch], storage: str) -> None:
    caps = ("--max-hours", "2", "--max-gpu-hours", "3", "--max-cost", "20", "--price-per-hour", "2.5")
    call(launch, storage, *caps, "--stalled-minutes", "7")
    said = call(resume, storage).output
    assert "caps of sweep smoke: --max-hours 2, --max-gpu-hours 3, --max-cost 20 at 2.5 per hour\n" in said
    wanted = Caps(max_hours=2, max_gpu_hours=3, max_cost=20, price_per_hour=2.5)
    assert [caps_of(each) for each in begun] == [wanted, wanted]
    assert Sweep(Store(storage), "smoke").launch_options().stalled_minutes == 7


def test_what_is_given_to_resume_wins_and_is_kept_for_the_next(begun: list[Launch], storage: str) -> None:
    call(launch, storage, "--max-hours", "2", "--max-cost", "20", "--price-per-hour", "2.5")
    # The price of the launch serves for a new cap on the cost, and a new price for the old cap.
    call(resume, storage, "--max-cost", "40")
    call(resume, storage, "--price-per-hour", "3")
    call(resume, storage)
    assert [caps_of(each) for each in begun[1:]] == [
        Caps(max_hours=2, max_cost=40, price_per_hour=2.5),
        Caps(max_hours=2, max_cost=40, price_per_hour=3),
        Caps(max_hours=2, max_cost=40, price_per_hour=3),
    ]


def test_no_caps_drops_those_of_the_launch_for_good(begun: list[Launch], storage: str) -> None:
    call(launch, storage, "--max-hours", "2", "--max-gpu-hours", "3")
    assert "caps of sweep smoke: --max-hours 5\n" in call(resume, storage, "--no-caps", "--max-hours", "5").output
    call(resume, storage)
    assert [caps_of(each) for each in begun[1:]] == [Caps(max_hours=5), Caps(max_hours=5)]


def test_another_launch_has_the_caps_that_are_typed_and_no_others(begun: list[Launch], storage: str) -> None:
    call(launch, storage, "--max-hours", "2", "--stalled-minutes", "7")
    call(launch, storage)
    assert "caps" not in call(resume, storage).output
    assert [caps_of(each) for each in begun[1:]] == [Caps(), Caps()]
    assert Sweep(Store(storage), "smoke").launch_options().stalled_minutes == STALLED_MINUTES


@pytest.mark.parametrize(
    ("target", "kind"),
    [(SECRET_URL, "a URL of hooks.example.com"), ("curl -H 'Bearer secret-token' -d @- https://x", "a command")],
)
def test_the_target_of_events_is_not_kept_and_resume_asks_for_it(
    begun: list[Launch], storage: str, target: str, kind: str
) -> None:
    call(launch, storage, "--on-event", target)
    assert "secret-token" not in kept(storage)
    for _ in range(2):
        said = call(resume, storage).output
        assert f"events are not reported: the launch told {kind}, which is not kept since it may hold a secret" in said
    assert "events are not reported" not in call(resume, storage, "--on-event", target).output
    assert "events are not reported" not in call(resume, storage, "--on-event", "").output
    assert "events are not reported" not in call(resume, storage).output
    assert [each.hook is not None for each in begun] == [True, False, False, True, False, False]
    assert "secret-token" not in kept(storage)


def test_no_command_that_stands_in_a_storage_is_ever_run(begun: list[Launch], storage: str, tmp_path: Path) -> None:
    call(launch, storage)
    path = Path(storage) / "sweeps" / "smoke" / LAUNCH
    path.write_text(path.read_text().replace('"on_event": null', f'"on_event": "touch {tmp_path}/ran"'))
    call(resume, storage)
    assert begun[-1].hook is None


def test_sweep_without_a_target_is_not_asked_for_one(begun: list[Launch], storage: str) -> None:
    call(launch, storage)
    assert "events are not reported" not in call(resume, storage).output
