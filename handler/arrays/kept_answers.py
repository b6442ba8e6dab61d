"""Answers that are kept from one request to the next, with the versions of all that they were made of.

The metadata of an array was read, or asked for again, before an answer is sought here: the plan has its versions. Each
object that only holds chunks is asked for again, in the caller's name and without its data: a 304 says that it is the
same, and a 404 that an absent chunk is still absent. After any other answer, the array is reduced as if nothing had
been kept.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from active_storage.errors import ActiveStorageError, EntityTooLarge, InvalidRange, SlowDown, StoreError
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.arrays.fetch import means_absent
from handler.arrays.plan import ArrayPlan
from handler.arrays.sections import locate
from handler.containers.kerchunk_parquet import ParquetIndex
from handler.containers.side_by_side import map_side_by_side
from handler.containers.stored_array import ABSENT, ChunkObject
from handler.engine.memory import Account
from handler.scope import Scope
from handler.stores.kept import Kept
from handler.stores.source import UNKNOWN_BYTES, ObjectFacts

_Answer = TypeVar("_Answer")

# The memory of the name of an object and of its ETag, in addition to their texts: what Python's objects and the
# entry of a mapping take.
_VERSION_BYTES = 256

# How many chunks are asked for before the deadline of the request is renewed, and by how many threads: 256 objects on
# this machine took 0.13 s with one thread, and 0.07 s with 16 to 60.
_ASKED_AT_ONCE = 1024
_ASKERS = 32

# The most weights and numbers of groups in a request whose answer is kept: all are printed for the name of the answer.
_MOST_NUMBERS = 1 << 16

# The containers whose chunks lie in the objects that hold their metadata: the versions of those cover them.
_OF_ONE_OBJECT = frozenset({"netcdf"})

# The version of each object by its name; None if it is absent.
Versions = Mapping[str, ETag | None]


class SeenVersions:
    """The versions of the chunk objects that a request reads. Threads may share it.

    Args:
        most_bytes: The most memory that they may take. If they take more, they are forgotten.
        account: Counts their memory.
    """

    def __init__(self, most_bytes: int, account: Account) -> None:
        self._most_bytes = most_bytes
        self._account = account
        self._versions: dict[str, ETag | None] | None = {}
        self._lock = threading.Lock()
        self.memory_bytes = 0

    @property
    def versions(self) -> Versions | None:
        """The versions; None if they are too many, or are not of a kind for which an answer may be kept."""
        return self._versions

    def see(self, name: str, facts: ObjectFacts | None) -> None:
        """Note an answer about an object; None for facts says that it is absent."""
        with self._lock:
            if self._versions is None:
                return
            etag = None if facts is None else facts.strong_etag
            if (facts is not None and not facts.can_be_kept) or self._versions.get(name, etag) != etag:
                self._versions = None
            elif name not in self._versions:
                self._add(name, etag)

    def _add(self, name: str, etag: ETag | None) -> None:
        assert self._versions is not None  # noqa: S101  # see() has asked
        self._versions[name] = etag
        size = _VERSION_BYTES + len(name) + (0 if etag is None else len(etag.opaque))
        self.memory_bytes += size
        if self.memory_bytes > self._most_bytes:
            self._versions = None
            return
        try:
            self._account.hold(size)
        except (EntityTooLarge, SlowDown):
            self._versions = None


@dataclass(frozen=True, slots=True)
class _KeptAnswer(Generic[_Answer]):
    answer: _Answer
    versions: Versions


class KeptAnswers(Generic[_Answer]):
    """The answers to one request that were kept, and what its own answer needs to be kept.

    Args:
        kept: Where answers are kept, beside other things.
        pool: Threads that ask for chunks.
        plan: The plan of the request, of the version that the metadata has now.
        account: Counts the memory of versions while they are collected.

    Attributes:
        is_of_one_object: Whether everything lies in one object, of which the store was asked for the metadata.
    """

    def __init__(self, kept: Kept, pool: ThreadPoolExecutor, plan: ArrayPlan, account: Account) -> None:
        self._kept = kept
        self._pool = pool
        self._plan = plan
        self._name = _name(plan) if kept.limit_bytes else None
        self._covers_chunks = plan.reduction.container in _OF_ONE_OBJECT
        self._seen = SeenVersions(kept.largest_result_bytes, account)
        self.is_of_one_object = self._covers_chunks and len(plan.metadata) == 1

    def see(self, name: str, facts: ObjectFacts | None) -> None:
        """Note the answer of the store about an object of chunks; None for facts says that it is absent."""
        if self._name is not None and not self._covers_chunks:
            self._seen.see(name, facts)

    def keep(self, answer: _Answer, size: int) -> None:
        """Keep an answer, if its versions are of a kind for which that is safe.

        Args:
            answer: The answer.
            size: The memory of the answer in bytes.
        """
        versions = self._seen.versions
        size += self._seen.memory_bytes
        if self._name is not None and versions is not None and size <= self._kept.largest_result_bytes:
            self._kept.keep(self._name, _KeptAnswer(answer, versions), size)

    def find(self, scope: Scope, renew: Callable[[], None]) -> tuple[_Answer, int] | None:
        """The kept answer, if all chunks are the same, and the number of requests that this took.

        Args:
            scope: The deadline.
            renew: Called now and then while chunks are asked for: the request goes on.

        Returns:
            None if there is no such answer.

        Raises:
            ActiveStorageError: The time of the request is over, or the caller has gone.
        """
        kept: _KeptAnswer[_Answer] | None = None if self._name is None else self._kept.find(self._name)
        if kept is None:
            return None
        try:
            return kept.answer, 0 if self._covers_chunks else self._ask_all(kept.versions, scope, renew)
        except _ChangedError:
            return None

    def _ask_all(self, versions: Versions, scope: Scope, renew: Callable[[], None]) -> int:
        """Ask for all chunk objects, and return how many requests that took.

        Raises:
            _ChangedError: One of them is not of its version, or there are others than before.
        """
        ask = partial(_ask_some, versions, self._plan.reduction.absent_is_forbidden)
        objects = _list_objects(self._plan)
        asked, names = 0, set[str]()
        while some := list(islice(objects, _ASKED_AT_ONCE)):
            scope.check()
            asked += sum(map_side_by_side(self._pool, ask, [some[number::_ASKERS] for number in range(_ASKERS)]))
            names.update(each.name for each in some)
            renew()
        if len(names) != len(versions):
            raise _ChangedError
        return asked


class _ChangedError(Exception):
    """What was kept is not that of the array now."""


def _name(plan: ArrayPlan) -> tuple[type, bytes] | None:
    """What an answer is kept by; None if it cannot be kept.

    It covers the whole reduction as it was asked for, what the metadata makes of it, and where the metadata lies. A
    chunk is named relative to the metadata, or by a reference in it.
    """
    if any(isinstance(array.index, ParquetIndex) for part in plan.parts for array in part.arrays):
        # The versions of the files that say where chunks lie are not those of the metadata.
        return None
    if not all(each.facts is not None and each.facts.can_be_kept for each in plan.metadata):
        return None
    if sum(len(each.values) for each in plan.reduction.given) > _MOST_NUMBERS:
        return None
    identities = [each.source.identity for each in plan.metadata]
    if None in identities:
        return None
    covered = repr((plan.reduction, plan.digest, identities))
    return _KeptAnswer, hashlib.sha256(covered.encode(errors="surrogatepass")).digest()


def _list_objects(plan: ArrayPlan) -> Iterator[ChunkObject]:
    """The objects that hold the touched chunks of a plan.

    Raises:
        _ChangedError: An index cannot be read. The reduction will say why.
    """
    shared = set[int]()
    for section in range(plan.sections):
        for stretch in plan.section(section):
            try:
                located = locate(stretch)
            except ActiveStorageError:
                raise _ChangedError from None
            for places in (located.places, *located.others):
                has_object = places.sizes != ABSENT
                has_object[list(places.inline)] = False
                for number in np.unique(places.object_numbers[has_object]).tolist():
                    chunk_object = places.objects[number]
                    # References that name an object again give the same one. Others are listed anew.
                    if not chunk_object.must_exist or id(chunk_object) not in shared:
                        yield chunk_object
                    if chunk_object.must_exist:
                        shared.add(id(chunk_object))


def _ask_some(versions: Versions, absent_is_forbidden: bool, chunk_objects: Sequence[ChunkObject]) -> int:
    """Pass if objects are of their versions. Returns the number of requests that this took.

    Raises:
        _ChangedError: One is not.
    """
    return sum(_ask(versions, absent_is_forbidden, each) for each in chunk_objects)


def _ask(versions: Versions, absent_is_forbidden: bool, chunk_object: ChunkObject) -> int:
    """Pass if an object is of its version. Returns the number of requests that this took.

    Raises:
        _ChangedError: It is not, or cannot be asked for. The reduction will say why.
    """
    if chunk_object.name not in versions:
        raise _ChangedError
    etag, facts = versions[chunk_object.name], chunk_object.facts
    if facts is not None and facts.total != UNKNOWN_BYTES:
        # This request has asked for it already, to read the index in it.
        if facts.strong_etag != etag:
            raise _ChangedError
        return 0
    try:
        if etag is None:
            is_same = _is_absent(chunk_object, absent_is_forbidden)
        else:
            is_same = chunk_object.source.is_unchanged(ObjectFacts.named_by(etag))
    except ActiveStorageError:
        is_same = False
    if not is_same:
        raise _ChangedError
    return 1


def _is_absent(chunk_object: ChunkObject, absent_is_forbidden: bool) -> bool:
    try:
        chunk_object.source.finish(chunk_object.source.open(ByteRange(0, 0)))
    except InvalidRange:
        # An empty object.
        return False
    except StoreError as error:
        return means_absent(error, absent_is_forbidden)
    return False
