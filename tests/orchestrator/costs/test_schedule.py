"""A list schedule is what a launch would do: hand-computed cases, a second implementation, and bounds."""

import heapq
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.costs.schedule import Room, Timetable, TrialTime, list_schedule, quickest_schedule

CORES = Room(kind="cpu", cpus=2, gpus=0, start_seconds=10)
GPU = Room(kind="A", cpus=4, gpus=1, start_seconds=0, is_permanent=True)


def trial(uid: str, seconds: float, *parents: str, share: float = 0.0, **by_kind: float) -> TrialTime:
    return TrialTime(uid=uid, parents=parents, seconds=by_kind or {"cpu": seconds, "A": seconds}, gpu_share=share)


def sweep(num_pairs: int = 4, *, shares: tuple[float, float] = (0.0, 0.0)) -> list[TrialTime]:
    """A teacher of 4 s, a distillation of 2 s, and pairs of 3 s."""
    teacher, distill = trial("t", 4, share=shares[0]), trial("d", 2, "t", share=shares[1])
    return [teacher, distill, *(trial(f"p{n}", 3, "d", share=shares[1]) for n in range(num_pairs))]


def test_machine_is_asked_for_at_once_and_runs_as_many_trials_as_it_has_cores() -> None:
    # Up at 10, teacher to 14, distillation to 16, two pairs to 19, two more to 22.
    assert list_schedule(sweep(), [CORES]) == Timetable(22, (22,), 0)


def test_further_machine_is_asked_for_once_more_is_ready_than_there_is_room_for() -> None:
    # At 16 s two of 16 pairs start and 14 wait, so the second machine is asked for, and up at 26. The first one starts
    # two at 16, 19, 22, 25, 28 and 31, the second one at 26 and 29.
    assert list_schedule(sweep(16), [CORES, CORES]) == Timetable(34, (34, 32 - 16), 0)


def test_machine_that_was_asked_for_in_vain_is_paid_until_it_runs() -> None:
    # The third and fourth pair begin at 19 s, before the second machine is up at 26.
    assert list_schedule(sweep(), [CORES, CORES]) == Timetable(22, (22, 10), 0)


def test_permanent_machine_is_paid_to_the_end_and_others_to_their_last_trial() -> None:
    permanent = replace(CORES, is_permanent=True, start_seconds=0, cpus=1)
    late = replace(CORES, start_seconds=1)
    # The first machine runs teacher, distillation (to 6) and a pair (to 9); the second, up at 7, two pairs to 10.
    assert list_schedule(sweep(3), [permanent, late]) == Timetable(10, (10, 4), 0)


def test_trials_share_a_gpu_by_their_share_and_a_whole_one_waits_for_all() -> None:
    trials = sweep(5, shares=(1.0, 0.5))
    # To 6 s as before, then 2, 2 and 1 pairs of 3 s. GPU-seconds: 4 + 1 + 5 * 1.5.
    assert list_schedule(trials, [GPU]) == Timetable(15, (15,), 12.5)
    second = trial("t2", 1, share=1.0)
    # In plan order the two halves of a GPU start first, and the whole one waits for both.
    halves = [trial("a", 3, share=0.5), trial("b", 5, share=0.5), second]
    assert list_schedule(halves, [GPU]).wall_seconds == 6


def test_cores_limit_what_shares_a_gpu() -> None:
    eighths = [trial(f"{n}", 1, share=0.125) for n in range(8)]
    assert list_schedule(eighths, [GPU]).wall_seconds == 2
    assert list_schedule(eighths, [replace(GPU, cpus=8)]).wall_seconds == 1


def test_share_never_spans_two_gpus() -> None:
    three = [trial(f"{n}", 1, share=0.6) for n in range(3)]
    assert list_schedule(three, [replace(GPU, gpus=2)]).wall_seconds == 2


def test_what_a_whole_gpu_waits_for_does_not_hold_up_smaller_ones() -> None:
    trials = [trial("a", 4, share=0.5), trial("b", 1, share=1.0), trial("c", 2, share=0.5)]
    # a and c run at once, b from 4 to 5.
    assert list_schedule(trials, [GPU]).wall_seconds == 5


def test_trial_takes_the_time_of_the_machine_it_runs_on() -> None:
    slow = replace(GPU, kind="B")
    trials = [trial(f"{n}", 0, share=1.0, A=2, B=5) for n in range(3)]
    # One on each; the third begins on the quick one at 2.
    assert list_schedule(trials, [GPU, slow]) == Timetable(5, (5, 5), 2 + 5 + 2)


def test_parents_that_are_not_in_the_schedule_are_done() -> None:
    assert list_schedule([trial("p", 3, "done before")], [replace(CORES, start_seconds=0)]).wall_seconds == 3


def test_nothing_to_run_takes_nothing() -> None:
    assert quickest_schedule([], [CORES, CORES]) == Timetable(0, (0, 0), 0)


def test_machine_more_can_cost_time_and_then_stays_unused() -> None:
    # Found by trying: in plan order the fifth core makes the long pairs of the third network start last.
    seconds = {"t": 5, "d1": 5, "d2": 8, "d3": 7}
    trials = [trial("t", 5), *(trial(f"d{n}", seconds[f"d{n}"], "t") for n in (1, 2, 3))]
    pairs = [(1, 2)] * 3 + [(2, 7)] * 2 + [(3, 5)] * 4
    trials += [trial(f"p{n}", each, f"d{parent}") for n, (parent, each) in enumerate(pairs)]
    cores = [replace(CORES, cpus=1, start_seconds=0)] * 5
    assert list_schedule(trials, cores[:4]).wall_seconds == 22
    assert list_schedule(trials, cores).wall_seconds == 24
    assert quickest_schedule(trials, cores).wall_seconds == 22
    assert quickest_schedule(trials, cores).paid_seconds[4] == 0


@st.composite
def trees(draw: st.DrawFn) -> list[TrialTime]:
    """Trials of which each may start from an earlier one."""
    trials: list[TrialTime] = []
    for number in range(draw(st.integers(1, 12))):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        parents = () if parent is None else (str(parent),)
        trials.append(trial(str(number), draw(st.integers(1, 9)), *parents, share=draw(st.sampled_from([0.5, 1.0]))))
    return trials


def slots_schedule(trials: list[TrialTime], num_slots: int) -> float:
    """An independent list schedule on equal slots that are there from the start."""
    ends: dict[str, float] = {}
    running: list[tuple[float, str]] = []
    waiting, now = list(trials), 0.0
    while waiting or running:
        for each in [t for t in waiting if all(ends.get(uid, now + 1) <= now for uid in t.parents)]:
            if len(running) < num_slots:
                waiting.remove(each)
                heapq.heappush(running, (now + each.seconds["A"], each.uid))
        now = running[0][0]
        while running and running[0][0] == now:
            _, uid = heapq.heappop(running)
            ends[uid] = now
    return now


@given(trees(), st.integers(1, 5))
def test_schedule_on_whole_gpus_is_that_of_equal_slots(trials: list[TrialTime], num_gpus: int) -> None:
    whole = [replace(each, gpu_share=1.0) for each in trials]
    rooms = [replace(GPU, is_permanent=False)] * num_gpus
    assert list_schedule(whole, rooms).wall_seconds == slots_schedule(whole, num_gpus)


room_of_any_size = st.builds(
    Room, kind=st.just("A"), cpus=st.integers(1, 4), gpus=st.integers(1, 3), start_seconds=st.integers(0, 20)
)
rooms_of_any_size = st.lists(room_of_any_size, min_size=1, max_size=5)


@given(trees(), rooms_of_any_size, room_of_any_size)
def test_more_machines_never_take_longer(trials: list[TrialTime], rooms: list[Room], more: Room) -> None:
    assert quickest_schedule(trials, [*rooms, more]).wall_seconds <= quickest_schedule(trials, rooms).wall_seconds


@given(trees(), rooms_of_any_size)
def test_no_schedule_is_shorter_than_its_longest_chain_or_its_work(trials: list[TrialTime], rooms: list[Room]) -> None:
    timetable = quickest_schedule(trials, rooms)
    chains: dict[str, float] = {}
    for each in trials:
        chains[each.uid] = each.seconds["A"] + max((chains[uid] for uid in each.parents), default=0.0)
    gpu_seconds = sum(each.seconds["A"] * each.gpu_share for each in trials)
    assert timetable.wall_seconds >= max(chains.values())
    assert timetable.wall_seconds >= gpu_seconds / sum(room.gpus for room in rooms)
    assert timetable.gpu_seconds == pytest.approx(gpu_seconds)
    # Nothing runs on a machine that is not paid.
    room_of_paid = sum(paid * room.gpus for paid, room in zip(timetable.paid_seconds, rooms, strict=True))
    assert room_of_paid >= gpu_seconds - 1e-9
