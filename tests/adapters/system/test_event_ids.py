from __future__ import annotations

import threading
from itertools import repeat
from uuid import UUID

from flowguard.adapters.system.event_ids import Uuid7


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    made = Uuid7(now_ms=lambda: 1_767_323_045_678)()
    found = UUID(made)
    assert (found.version, found.variant) == (7, "specified in RFC 4122")
    assert found.int >> 80 == 1_767_323_045_678
    assert str(found) == made


def test_the_random_part_fills_what_the_standard_leaves_to_it() -> None:
    # RFC 9562, appendix A.6, with the highest random bit kept free for counting.
    random = (0xCC3 << 62 | 0x18C4DC0C0C07398F) & ((1 << 73) - 1)
    made = Uuid7(now_ms=lambda: 0x017F22E279B0, random_bytes=(random << 7).to_bytes)()
    assert made == "017f22e2-79b0-74c3-98c4-dc0c0c07398f"


def test_ids_rise_within_a_millisecond_and_when_the_clock_is_set_back() -> None:
    times = iter([5, 5, 5, 3, 4, 6, 2])
    make = Uuid7(now_ms=lambda: next(times))
    made = [make() for _ in range(7)]
    assert made == sorted(set(made))
    assert [UUID(one).int >> 80 for one in made] == [5, 5, 5, 5, 5, 6, 6]


def test_a_counter_that_runs_over_borrows_a_millisecond() -> None:
    make = Uuid7(now_ms=lambda: 5)
    make()
    make._random = (1 << 74) - 1
    after = UUID(make())
    assert (after.int >> 80, after.int & ((1 << 62) - 1)) == (6, 0)


def test_threads_never_share_an_id() -> None:
    make = Uuid7(now_ms=lambda: 5)
    made: list[str] = []

    def work() -> None:
        made.extend(make() for _ in repeat(None, 2_000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 8_000
