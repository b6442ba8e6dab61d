"""Fixtures of the tests of stores: a store over a socket that can misbehave, and the application before it."""

from collections.abc import Iterator

import flask
import pytest

from tests.faulty_store import FaultyStore, service, well


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    """A store that sends what it has, until a test orders something else."""
    with FaultyStore(well) as store:
        yield store


@pytest.fixture
def app(store: FaultyStore) -> Iterator[flask.Flask]:
    with service(store) as (app, _):
        yield app
