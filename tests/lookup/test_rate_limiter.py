"""A host's turns: so many a second, none while it rests, and no waiting in vain."""

import time

from lookup.film import LookupFailure
from lookup.http_client import RateLimiter


def test_turns_come_one_after_another_and_none_is_waited_for_in_vain() -> None:
    pace = RateLimiter(per_second=0.001)
    deadline = time.monotonic() + 60
    assert pace.wait(deadline) is None
    late = pace.wait(deadline)
    assert late is not None
    assert late.kind == "timeout"


def test_a_host_that_rests_longer_than_there_is_time_says_why_at_once() -> None:
    pace, why = RateLimiter(per_second=1_000), LookupFailure("busy", "as it said")
    pace.back_off(3_600, why)
    assert pace.wait(time.monotonic() + 60) is why
    pace.back_off(1, LookupFailure("busy", "a shorter rest ends no longer one"))
    assert pace.wait(time.monotonic() + 60) is why


def test_a_rest_is_waited_out_where_there_is_time() -> None:
    pace = RateLimiter(per_second=1_000)
    pace.back_off(0.05, LookupFailure("busy", "a moment"))
    assert pace.wait(time.monotonic() + 60) is None


def test_a_refused_key_is_not_waited_for() -> None:
    pace, why = RateLimiter(per_second=1_000), LookupFailure("refused", "the key")
    pace.back_off(0.05, why)
    assert pace.wait(time.monotonic() + 3_600) is why
