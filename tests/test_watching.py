"""Steps are seen by who watches, from threads too, and by nobody else."""

import numba
import pytest

from gazehound.features.threads import in_threads
from gazehound.watching import is_watched, show, watch


def test_nobody_sees_what_was_shown_outside():
    show("before")
    with watch() as seen:
        assert is_watched()
        show("inside")
    show("after")
    assert seen == ["inside"]
    assert not is_watched()


def test_an_inner_watch_sees_its_own_steps_alone():
    with watch() as outer:
        show(1)
        with watch() as inner:
            show(2)
        show(3)
    assert (outer, inner) == ([1, 3], [2])


def test_a_watch_ends_with_an_error():
    with pytest.raises(ValueError, match="no"), watch():
        raise ValueError("no")
    assert not is_watched()


@pytest.mark.parametrize("threads", [1, 3])
def test_steps_of_threads_are_seen(threads):
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        with watch() as seen:
            assert in_threads(lambda item: show(item) or 2 * item, range(5)) == [0, 2, 4, 6, 8]
    finally:
        numba.set_num_threads(before)
    assert sorted(seen) == [0, 1, 2, 3, 4]
