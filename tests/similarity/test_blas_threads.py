"""Products of matrices that use one thread while the encoder has the cores."""

from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_info

from similarity.native import one_thread


def _threads() -> list[int]:
    """Of numpy's library: each has threads of its own, and others may have been loaded since."""
    return [library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]]


def test_products_use_one_thread_in_the_block_and_as_many_as_before_after_it() -> None:
    before = _threads()
    with one_thread():
        assert _threads() == [1] * len(before)
    assert _threads() == before


def test_blocks_of_many_threads_leave_the_number_as_it_was() -> None:
    before = _threads()

    def inside(_: int) -> int:
        with one_thread():
            return max(_threads())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(inside, range(64))) == {1}
    assert _threads() == before
