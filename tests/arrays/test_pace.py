"""How many units of a request are under way at a time."""

import numpy as np
import pytest

from handler.arrays.pace import Pace
from tests.arrays.memory_array import ask, make_engine, store_array, values_of


def test_near_the_store_it_is_as_many_as_there_are_cores_to_decode() -> None:
    pace = Pace(most=16, cores=2)
    pace.see_answer(0.001)
    pace.see_unit(0.010, 0.008)
    assert pace.units == 2
    assert not pace.is_distant


def test_at_a_distance_it_is_as_many_as_may_be() -> None:
    pace = Pace(most=16, cores=1)
    assert not pace.is_distant
    pace.see_answer(0.02)
    assert pace.units == 16
    assert pace.is_distant


def test_a_thread_that_waits_leaves_room_for_others() -> None:
    pace = Pace(most=16, cores=1)
    pace.see_unit(0.8, 0.2)
    assert pace.units == 4


def test_what_threads_take_beside_each_other_does_not_count() -> None:
    pace = Pace(most=16, cores=1)
    pace.see_unit(0.8, 0.4)
    pace.see_unit(8.0, 0.1)
    assert pace.units == 2


def test_there_are_never_more_than_may_be() -> None:
    pace = Pace(most=2, cores=4)
    assert pace.units == 2
    pace.see_unit(1.0, 0.0)
    assert pace.units == 2


@pytest.mark.parametrize("in_one_object", [True, False])
@pytest.mark.parametrize("waits", [-1.0, 100.0])
def test_it_does_not_change_the_bits(in_one_object: bool, waits: float, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(7).normal(size=(64, 6)).astype(np.float32)
    array, _ = store_array(values, (1, 6), in_one_object=in_one_object)
    alone = ask(make_engine(fetchers=0), array, "sum")
    monkeypatch.setattr("handler.arrays.pace._DISTANT_SECONDS", waits)
    for fetchers in (1, 2, 8):
        assert values_of(ask(make_engine(fetchers=fetchers), array, "sum")).tobytes() == values_of(alone).tobytes()
