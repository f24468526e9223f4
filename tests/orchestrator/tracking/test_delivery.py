"""The queue to MLflow is bounded, and its end waits for a slow server and not for one that hangs."""

import threading
import time

from orchestrator.tracking.delivery import Delivery


def test_actions_are_done_in_order_and_all_before_the_end() -> None:
    done = list[int]()
    delivery = Delivery(lambda action: action())
    for number in range(50):
        delivery.put(lambda number=number: done.append(number))  # type: ignore[misc]
    delivery.start()
    assert delivery.drain()
    assert done == list(range(50))
    assert delivery.drain(), "nothing is left to wait for"


def test_what_comes_beyond_the_bound_is_dropped_at_once() -> None:
    done = list[int]()
    delivery = Delivery(lambda action: action(), most=3)
    for number in range(10):
        delivery.put(lambda number=number: done.append(number))  # type: ignore[misc]
    delivery.start()
    assert delivery.drain()
    assert done == [0, 1, 2]


def test_server_that_hangs_does_not_hold_up_the_end_and_a_slow_one_is_waited_for() -> None:
    hangs = threading.Event()
    delivery = Delivery(lambda action: action())
    delivery.start()
    delivery.put(lambda: (hangs.wait(60), None)[1])
    began = time.monotonic()
    assert not delivery.drain(stuck_seconds=0.1)
    assert time.monotonic() - began < 30
    hangs.set()
    done = list[int]()
    slow = Delivery(lambda action: action())
    for number in range(4):
        slow.put(lambda number=number: (time.sleep(0.4), done.append(number))[1])  # type: ignore[misc]
    slow.start()
    assert slow.drain(stuck_seconds=1.5), "each takes long, but one after the other gets through"
    assert done == [0, 1, 2, 3]
