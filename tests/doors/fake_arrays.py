"""An engine of whole arrays that gives an answer which a test has made."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from active_storage.errors import ActiveStorageError
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag
from handler.arrays.engine import ArrayAnswer
from handler.containers.reader import Container
from handler.engine.result import Result
from handler.scope import Scope


@dataclass
class FakeArrays:
    """An engine that gives an answer which a test has made. It reads the root."""

    answer: ArrayAnswer
    asked: list[ArrayReduction] = field(default_factory=list)
    error: ActiveStorageError | None = None

    def reduce(self, reduction: ArrayReduction, container: Container, scope: Scope) -> ArrayAnswer:
        self.asked.append(reduction)
        if self.error is not None:
            raise self.error
        with container.open_key("").open(None):
            return self.answer

    describe = reduce


def make_answer(**values: Any) -> ArrayAnswer:
    answer = ArrayAnswer(
        Result("float32", (2,), np.array([3, 4]).data, 7, 0, np.array([1, 2], "<f4").tobytes()),
        ("lat",), {}, "K", 1, 5, 100, ETag("answer"),
    )  # fmt: skip
    return replace(answer, **values)
