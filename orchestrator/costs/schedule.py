"""When the trials of a plan run on which machines: a list schedule, made up before anything is launched.

It does what a launch does: whatever is ready starts, in plan order, on the first machine with room for it, and machines
are asked for once more is ready than those that run or start have room for.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import count

from cluster.runtime.resources import CPUS_PER_TRIAL, SHARE_UNITS


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTime:
    """What a trial takes."""

    uid: str
    parents: tuple[str, ...]
    """Uids of trials that must end first; those that are not in the schedule are done already."""
    seconds: Mapping[str, float]
    """By kind of device."""
    gpu_share: float
    """Share of a GPU; 0 runs on cores alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a machine has for trials."""

    kind: str
    """Of its devices, a key of `TrialTime.seconds`."""
    cpus: int
    gpus: int
    start_seconds: float
    """From when it is asked for until it runs."""
    is_permanent: bool = False
    """Whether it is asked for at once and stays to the end; others are asked for when they are needed."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """How long a schedule takes."""

    wall_seconds: float
    """To the end of the last trial."""
    paid_seconds: tuple[float, ...]
    """Of every machine, from when it was asked for to the end of its last trial (of its start, if all had found room
    elsewhere by then), or to the end of all for one that is permanent; 0 for one that was never asked for."""
    gpu_seconds: float
    """Of all trials, times their shares of a GPU."""


def quickest_schedule(trials: Sequence[TrialTime], rooms: Sequence[Room]) -> Timetable:
    """Returns the shortest of the schedules on all machines, or all but the last 1, 2, ... that are not permanent.

    Taking what is ready in plan order can end later with one machine more (Graham 1969): of 200,000 random plans of
    three stages on up to 5 slots 5 did, by 11 % at most. So that more machines never cost time, some may stay unused.

    Args:
        trials: In plan order, parents before children.
        rooms: In the order in which they are asked for, permanent ones first; each has room for every trial.
    """
    best = list_schedule(trials, rooms)
    fewest = max(1, sum(room.is_permanent for room in rooms))
    for number in range(len(rooms) - 1, fewest - 1, -1):
        if _least_seconds(trials, rooms[:number]) >= best.wall_seconds:
            break
        timetable = list_schedule(trials, rooms[:number])
        if timetable.wall_seconds < best.wall_seconds:
            best = replace(timetable, paid_seconds=timetable.paid_seconds + (0.0,) * (len(rooms) - number))
    return best


def _least_seconds(trials: Sequence[TrialTime], rooms: Sequence[Room]) -> float:
    """Returns what no schedule takes less than: all the work, parted without gaps over GPUs and over cores."""
    kinds = {room.kind for room in rooms}
    seconds = [min(trial.seconds[kind] for kind in kinds) for trial in trials]
    gpus, cpus = sum(room.gpus for room in rooms), sum(room.cpus for room in rooms)
    gpu_seconds = sum(each * trial.gpu_share for each, trial in zip(seconds, trials, strict=True))
    return max(sum(seconds) * CPUS_PER_TRIAL / cpus, gpu_seconds / gpus if gpus else 0.0)


def list_schedule(trials: Sequence[TrialTime], rooms: Sequence[Room]) -> Timetable:
    """Runs trials on these machines as a launch would; see `quickest_schedule` for the arguments."""
    return _Schedule(trials, rooms).run()


class _Machine:
    """A machine during the schedule."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.asked_at: float | None = None
        self.is_up = False
        self.last_end = 0.0
        self._free_cpus = room.cpus
        self._free_units = [SHARE_UNITS] * room.gpus

    def take(self, gpu_share: float) -> int | None:
        """Takes room for a trial; returns its GPU, -1 for none, and None if there is no room."""
        units = round(gpu_share * SHARE_UNITS)
        gpu = next((number for number, free in enumerate(self._free_units) if free >= units), None) if units else -1
        if gpu is None or self._free_cpus < CPUS_PER_TRIAL:
            return None
        self._free_cpus -= CPUS_PER_TRIAL
        if units:
            self._free_units[gpu] -= units
        return gpu

    def give_back(self, gpu: int, gpu_share: float) -> None:
        """Gives back what a trial took."""
        self._free_cpus += CPUS_PER_TRIAL
        if gpu >= 0:
            self._free_units[gpu] += round(gpu_share * SHARE_UNITS)

    def paid_seconds(self, end: float) -> float:
        """Returns how long it is paid for, given the end of the schedule."""
        if self.asked_at is None:
            return 0.0
        return (end if self.room.is_permanent else self.last_end) - self.asked_at


class _Schedule:
    """One run of the clock. Trials and machines go by their numbers."""

    def __init__(self, trials: Sequence[TrialTime], rooms: Sequence[Room]) -> None:
        self._trials = trials
        self._machines = [_Machine(room) for room in rooms]
        self._num_asked = 0
        self._gpu_seconds = 0.0
        number_of = {trial.uid: number for number, trial in enumerate(trials)}
        self._to_come = TopologicalSorter(
            {number_of[trial.uid]: [number_of[uid] for uid in trial.parents if uid in number_of] for trial in trials}
        )
        # By share: where one trial of a share finds no room, no other one does.
        self._ready: dict[float, list[int]] = {trial.gpu_share: [] for trial in trials}
        self._may_have_room: dict[float, list[int]] = {share: [] for share in self._ready}
        # Time, order, machine, then the trial that ends there and its GPU; without a trial the machine is up.
        self._events: list[tuple[float, int, int, int | None, int]] = []
        self._order = count()

    def run(self) -> Timetable:
        """Runs the clock to the end of the last trial."""
        now = 0.0
        self._to_come.prepare()
        for machine in self._machines:
            if machine.room.is_permanent:
                self._ask_for_machine(now)
        while self._to_come.is_active():
            for number in self._to_come.get_ready():
                heapq.heappush(self._ready[self._trials[number].gpu_share], number)
            self._start_what_fits(now)
            while self._num_asked < len(self._machines) and self._lacks_room():
                self._ask_for_machine(now)
            now = self._events[0][0]
            while self._events and self._events[0][0] == now:
                self._happen(*heapq.heappop(self._events))
        paid = tuple(machine.paid_seconds(now) for machine in self._machines)
        return Timetable(wall_seconds=now, paid_seconds=paid, gpu_seconds=self._gpu_seconds)

    def _ask_for_machine(self, now: float) -> None:
        machine = self._machines[self._num_asked]
        machine.asked_at = now
        machine.last_end = now + machine.room.start_seconds
        self._expect(machine.last_end, self._num_asked, None, -1)
        self._num_asked += 1

    def _lacks_room(self) -> bool:
        """Tells whether more is ready than the machines that start have room for; those that run are full."""
        starting = [_Machine(machine.room) for machine in self._machines[: self._num_asked] if not machine.is_up]
        return any(
            all(machine.take(share) is None for machine in starting)
            for share, numbers in self._ready.items()
            for _ in numbers
        )

    def _start_what_fits(self, now: float) -> None:
        full: set[float] = set()
        while firsts := [
            (numbers[0], share) for share, numbers in self._ready.items() if numbers and share not in full
        ]:
            number, share = min(firsts)
            place, gpu = self._find_room(share)
            if gpu is None:
                full.add(share)
                continue
            heapq.heappop(self._ready[share])
            seconds = self._trials[number].seconds[self._machines[place].room.kind]
            self._gpu_seconds += seconds * share
            self._expect(now + seconds, place, number, gpu)

    def _find_room(self, share: float) -> tuple[int, int | None]:
        """Takes room on the first machine that has it; returns the machine and its GPU, None where none has."""
        places = self._may_have_room[share]
        while places:
            if (gpu := self._machines[places[0]].take(share)) is not None:
                return places[0], gpu
            heapq.heappop(places)
        return 0, None

    def _happen(self, time: float, order: int, place: int, number: int | None, gpu: int) -> None:
        """Lets a machine be up or a trial end."""
        machine = self._machines[place]
        for places in self._may_have_room.values():
            heapq.heappush(places, place)
        if number is None:
            machine.is_up = True
            return
        machine.give_back(gpu, self._trials[number].gpu_share)
        machine.last_end = time
        self._to_come.done(number)

    def _expect(self, time: float, place: int, number: int | None, gpu: int) -> None:
        heapq.heappush(self._events, (time, next(self._order), place, number, gpu))
