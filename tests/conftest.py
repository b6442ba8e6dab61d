"""Fixtures of all tests: settings, a store in memory, and the application in front of it."""

from collections.abc import Callable, Iterator

import flask
import hypothesis
import numpy as np
import pytest

from handler.app import create_app
from handler.settings import Settings
from handler.stores.fake import FakeStore
from tests.helpers import make_settings

# The same cases in every run, so that only a change of the code can break a test. ``make test-long`` tries twice
# as many; ``--hypothesis-profile=default`` draws new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.register_profile("long", derandomize=True, database=None, max_examples=200)
hypothesis.settings.load_profile("same")

NUMBERS = np.arange(1, 11, dtype="<f4")


@pytest.fixture
def settings() -> Settings:
    return make_settings(s3_endpoint="http://store.test:9000")


@pytest.fixture
def store() -> Iterator[FakeStore]:
    """Ten float32, an empty object, and one of seven bytes. A test that leaves a stream open fails."""
    store = FakeStore({"/bucket/key": NUMBERS.tobytes(), "/bucket/empty": b"", "/bucket/odd": bytes(7)})
    yield store
    assert [path for path, source in store.sources.items() if source.open_streams] == []


@pytest.fixture
def app(settings: Settings, store: FakeStore) -> flask.Flask:
    return create_app(settings, store)


@pytest.fixture
def make_app(store: FakeStore) -> Callable[..., flask.Flask]:
    """Makes the application in front of the same store with other settings."""
    return lambda **values: create_app(make_settings(s3_endpoint="http://store.test:9000", **values), store)
