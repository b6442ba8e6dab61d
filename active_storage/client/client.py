"""``Client``: reductions of plain objects and of whole arrays, as numpy arrays.

    client = Client("https://reduce.example.org")
    client.sum("bucket", "key", dtype="float32")
    client.mean("s3://bucket/store.zarr", "tas", axis="time", where={"lat": slice(-30, 30)})

A plain object goes through the direct proxy, which takes a signature. A whole array goes through ``/arrays/v1/``, which
takes the keys themselves, to sign for each of its objects.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, Self, Unpack, overload
from urllib.parse import quote

import cbor2

from active_storage.client.arguments import ObjectArguments, QuestionArguments, ensure_known
from active_storage.client.connection import Answer, Channel, Connections, InProcess, Reply
from active_storage.client.credentials import Keys, ensure_secure
from active_storage.client.discovery import Document, read_document
from active_storage.client.failures import (
    BadReply,
    IncompleteReply,
    ServiceTooOld,
    read_json_error,
    read_xml_error,
    suggest_name,
    suggest_names,
)
from active_storage.client.groups import Group, read_group
from active_storage.client.items import (
    Item,
    SectionResult,
    join_sections,
    read_header,
    read_items,
    read_map,
    read_section,
)
from active_storage.client.methods import Progress, Reducer
from active_storage.client.objects import build_spec, make_empty_result, write_target
from active_storage.client.objects import read_result as read_object_result
from active_storage.client.progress import Done, read_done, read_progress, watching
from active_storage.client.questions import Store, build_members, build_store, find_parameters
from active_storage.client.results import Plan, Result, find_rule, read_plan, read_result
from active_storage.errors import (
    ActiveStorageError,
    InvalidArgument,
    NothingToReduce,
    PlanOutdated,
    UnknownReducer,
    WrongRegion,
)
from active_storage.grammar.arrays import COUNTS
from active_storage.grammar.targets import DISCOVERY_PATH
from active_storage.model.origins import Origin
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec

_CBOR = "application/cbor"


class Client:
    """A client of one service. Threads may share it; ``close`` it at the end, or use it in ``with``.

    The secret is sent to this service only, for whole arrays, and only over https or to this machine. For plain objects
    the service gets a signature.

    Args:
        url: The service, ``scheme://host[:port]``.
        key: The access key for the store; None for the keys that boto3 finds.
        secret: The secret key.
        token: The token of a session.
        anon: Whether to ask without keys.
        profile: A profile in the shared files of AWS.
        insecure: Whether the secret may be sent over http to another machine.
        timeout: The longest silence of the service, in seconds. A long reduction is not silent.
        retries: How often a request is repeated if the service is full, or cannot be reached.
        answer: Answers in this process, in place of the service; the command line makes it for ``--local``.

    Raises:
        InsecureService: The secret would be sent over http to another machine.
        InvalidArgument: The URL is not that of a service, or arguments contradict each other.
    """

    count = Reducer("The number of elements that are not missing.")
    max = Reducer("The largest element.")
    min = Reducer("The smallest element.")
    sum = Reducer("The sum.")
    select = Reducer("The selected elements themselves.")
    mean = Reducer("The mean.")
    var = Reducer("The variance.")
    std = Reducer("The standard deviation.")
    argmax = Reducer("The place of the largest element in the selection.")
    argmin = Reducer("The place of the smallest element in the selection.")
    any = Reducer("Whether any element is not 0.")
    all = Reducer("Whether all elements are not 0.")
    stats = Reducer("Count, minimum, maximum, mean and the sum of squared deviations, in a first dimension.")
    first = Reducer("The first element that is not missing.")
    last = Reducer("The last element that is not missing.")
    range = Reducer("The difference of the largest and the smallest element.")
    rms = Reducer("The square root of the mean of squares.")
    skew = Reducer("The skewness.")
    kurtosis = Reducer("The excess kurtosis.")
    count_nonzero = Reducer("The number of elements that are neither missing nor 0.")
    norm = Reducer("The square root of the sum of squares.")
    histogram = Reducer("The number of elements in each bin, in a last dimension.")
    quantile = Reducer("The quantiles ``q`` of a whole array; several are a first dimension.")
    median = Reducer("The median of a whole array.")
    cov = Reducer("The covariance of a whole array and the array ``other``.")
    corr = Reducer("The correlation of a whole array and the array ``other``.")
    sum_of_weights = Reducer("The sum of the weights of elements that are not missing, for whole arrays.")

    def __init__(  # noqa: PLR0913  # the options of a client
        self,
        url: str,
        *,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        anon: bool = False,
        profile: str | None = None,
        insecure: bool = False,
        timeout: float = 60.0,
        retries: int = 3,
        answer: Answer | None = None,
    ) -> None:
        try:
            self._origin = Origin.parse(url)
        except ValueError as error:
            raise InvalidArgument("url", str(error)) from None
        self._keys = Keys(key, secret, token, profile, anon)
        if not anon and not insecure and answer is None:
            ensure_secure(self._origin)
        self._connections: Channel = (
            Connections(self._origin, timeout, retries) if answer is None else InProcess(answer, self._origin)
        )
        self._lock = threading.Lock()
        self._known: Document | None = None

    def __repr__(self) -> str:
        return f"<Client of {self._origin}, {self._keys!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that wait for the next request."""
        self._connections.close()

    @overload
    def reduce(
        self, reducer: str, bucket: str, key: str, /, *, dtype: Any, **arguments: Unpack[ObjectArguments]
    ) -> Result: ...

    @overload
    def reduce(
        self,
        reducer: str,
        store: Store,
        array: str = "",
        /,
        *,
        progress: Progress | None = None,
        counts: bool = True,
        **arguments: Unpack[QuestionArguments],
    ) -> Result: ...

    def reduce(self, reducer: str, store: Any, name: str = "", /, **arguments: Any) -> Result:
        """The result of a reducer.

        Args:
            reducer: The reducer. Each one is a method too.
            store: The bucket of a plain object; or the URL of a whole array, ``s3://bucket/key`` for the store of the
                service, several URLs with ``concat``, or a table of chunks.
            name: The key of the object, or the path of the array in its container.
            **arguments: For an object, its ``dtype``, and those of ``ObjectArguments``. For an array, those of
                ``QuestionArguments``, and ``progress``, which is called with the number of sections that are done, and
                how many there are; the number can begin again. Without ``counts``, the reply is smaller: nothing is
                masked, and floats without elements are NaN.

        Raises:
            ActiveStorageError: There is no result; each kind of failure has its class.
            TypeError: There is no such argument.
        """
        progress, dtype = arguments.pop("progress", None), arguments.pop("dtype", None)
        if isinstance(store, str) and "://" not in store:
            if dtype is None:
                raise InvalidArgument("dtype", "is required for a plain object; an array has a URL, s3://bucket/key")
            ensure_known(arguments, ObjectArguments)
            try:
                spec = build_spec(reducer, dtype, arguments)  # type: ignore[arg-type]  # just checked
            except ActiveStorageError as error:
                raise suggest_names(error) from None
            return self._reduce_object(spec, store, name)
        if dtype is not None:
            raise InvalidArgument("dtype", "is given for a plain object; an array has its own")
        form = "packed" if arguments.pop("counts", True) else "none"
        members = self._build(reducer, store, name, arguments)
        if COUNTS in self._document().array_parameters:
            members[COUNTS] = form
        return self._reduce_array(reducer, members, progress)

    def discover(self) -> Mapping[str, Any]:
        """What the service says of itself: its store, and its reducers, parameters, data types and codecs.

        Raises:
            ServiceTooOld: The server is another program, or another version of the service.
            ActiveStorageError: It does not answer.
        """
        return self._document().members

    def plan(
        self, store: Store, array: str = "", /, *, reducer: str | None = None, **arguments: Unpack[QuestionArguments]
    ) -> Plan:
        """What a reduction of an array will take. No chunk is read.

        Args:
            store: As for ``reduce``.
            array: The path of the array in its container.
            reducer: The reducer, for the memory that it takes.
            **arguments: As for ``reduce``.

        Raises:
            ActiveStorageError: There is no plan.
        """
        return self._plan(
            {**self._build(reducer, store, array, arguments), **({"reducer": reducer} if reducer else {})}
        )

    def describe(
        self,
        store: str,
        group: str = "",
        /,
        *,
        coordinates: bool = False,
        container: Literal["zarr", "netcdf", "hdf5", "kerchunk"] | None = None,
        interface_type: Literal["s3", "http", "https"] | None = None,
    ) -> Group:
        """The arrays of a group of a container: names, dimensions, shapes, data types and attributes.

        Args:
            store: The URL of the container, as for ``reduce``.
            group: The path of the group; "" for the root.
            coordinates: Whether to read the elements of coordinates, which have one dimension, and its name.
            container: As for ``reduce``.
            interface_type: As for ``reduce``.

        Raises:
            ServiceTooOld: The service does not list arrays.
            ActiveStorageError: The group cannot be read, or nothing lists its arrays.
        """
        arguments = QuestionArguments(container=container, interface_type=interface_type)
        members = build_store(store, group, arguments, self._document().store)
        try:
            with self._post("describe", {"store": members, "coordinates": coordinates}) as reply:
                return read_group(read_map(reply))
        except UnknownReducer:
            raise ServiceTooOld(f"{self._origin} does not list the arrays of a container") from None

    def partials(
        self,
        reducer: str,
        store: Store,
        array: str = "",
        /,
        *,
        sections: tuple[int, int] | None = None,
        plan: str | None = None,
        **arguments: Unpack[QuestionArguments],
    ) -> Iterator[SectionResult]:
        """The partial results of sections of an array, in order, while they come; ``join`` joins them.

        If the connection breaks, the sections that lack are asked for again. No section comes twice. At the end, all of
        them are of one version of the array.

        Args:
            reducer: The reducer.
            store: As for ``reduce``.
            array: The path of the array in its container.
            sections: The first section, and the one after the last; None for all.
            plan: The digest of the plan that they belong to; None for that of the first reply.
            **arguments: As for ``reduce``.

        Raises:
            PlanOutdated: The array has changed.
            ActiveStorageError: A section cannot be reduced.
        """
        return self._read_sections(reducer, self._build(reducer, store, array, arguments), sections, plan, None)

    @staticmethod
    def join(sections: Iterable[SectionResult]) -> Result:
        """The result of all sections of an array, with the same bits as that of one request.

        Args:
            sections: The partial results, in any order, of one or of several services.

        Raises:
            InvalidArgument: A section is absent or is there twice, or they are of several plans or reducers.
        """
        return join_sections(sections)

    # Plain objects

    def _reduce_object(self, spec: ReductionSpec, bucket: str, key: str) -> Result:
        try:
            headers, body = self._get_object(spec, bucket, key)
        except NothingToReduce:
            return make_empty_result(spec)
        counting = replace(spec, reducer="count", sum_dtype=None, ddof=0, edges=None)
        return read_object_result(spec, headers, body, lambda: self._get_object(counting, bucket, key))

    def _get_object(self, spec: ReductionSpec, bucket: str, key: str) -> tuple[Mapping[str, str], bytes]:
        """The headers and the body of a result."""
        target, object_target = write_target(spec, bucket, key)
        url = f"{self._document().store}{object_target}"
        try:
            return self._get(target, url, bucket)
        except WrongRegion as error:
            if not self._keys.learn_region(bucket, error.region):
                raise
        return self._get(target, url, bucket)

    def _get(self, target: str, url: str, bucket: str) -> tuple[Mapping[str, str], bytes]:
        asking = self._connections.ask("GET", target, read_xml_error, lambda: self._keys.sign(url, bucket))
        with asking as reply:
            return reply.headers, reply.read()

    # Whole arrays

    def _build(self, reducer: str | None, store: Store, array: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The members of a request, which this service knows."""
        ensure_known(arguments, QuestionArguments)
        document = self._document()
        if not document.array_reducers:
            raise ServiceTooOld(f"{self._origin} knows plain objects only")
        if reducer is not None and reducer not in document.array_reducers:
            if reducer not in ARRAY_REDUCERS:
                raise UnknownReducer(f"there is no reducer {reducer!r}{suggest_name(reducer, document.array_reducers)}")
            raise ServiceTooOld(f"{self._origin} does not know the reducer {reducer}")
        question = QuestionArguments(**arguments)  # type: ignore[typeddict-item]  # just checked
        if unknown := find_parameters(question) - document.array_parameters:
            raise ServiceTooOld(f"{self._origin} does not know {', '.join(sorted(unknown))}")
        return build_members(store, array, question, document.store)

    def _reduce_array(self, reducer: str, members: Item, progress: Progress | None) -> Result:
        attempt = 0
        while True:
            is_long = False
            try:
                with watching() as tell, self._post(reducer, {**members, "answer": "progress"}) as reply:
                    result: Result | None = None
                    for item in read_items(reply):
                        if item["type"] == "result":
                            result = read_result(reducer, item)
                            continue
                        tell(read_done(item))
                        if item["type"] == "header":
                            is_long = item.get("of") not in (None, 1) and not find_rule(reducer).is_quantile
                        elif item["type"] == "progress" and progress is not None:
                            progress(*read_progress(item))
                    return _ensure_result(result)
            except IncompleteReply:
                if attempt == self._connections.retries:
                    raise
                self._connections.pause(attempt)
            if is_long:
                # From here on, a break costs the section that it hits, and not all of them.
                return join_sections(self._read_sections(reducer, members, None, None, progress))
            attempt += 1

    def _read_sections(
        self,
        reducer: str,
        members: Item,
        sections: tuple[int, int] | None,
        digest: str | None,
        progress: Progress | None,
    ) -> Iterator[SectionResult]:
        with watching() as tell:
            yield from self._read_told_sections(reducer, members, sections, digest, progress, tell)

    def _read_told_sections(  # noqa: PLR0913, PLR0917  # those of the method above, and one more
        self,
        reducer: str,
        members: Item,
        sections: tuple[int, int] | None,
        digest: str | None,
        progress: Progress | None,
        tell: Callable[[Done], None],
    ) -> Iterator[SectionResult]:
        begun, attempt, is_broken, done = None, 0, False, Done()
        while sections is None or sections[0] < sections[1]:
            asked = {"answer": "partials", "sections": sections and list(sections), "plan": digest, COUNTS: None}
            try:
                with self._post(reducer, {**members, **asked}) as reply:
                    items = read_items(reply)
                    header = read_header(next(items, {}))
                    first, stop = header.first, header.stop
                    begun, digest = first if begun is None else begun, header.plan
                    of = done.chunks + read_done(header.members).of
                    for item in items:
                        if item["type"] != "section":
                            continue
                        found = read_section(item, header)
                        if found.section != first:
                            raise BadReply(f"section {found.section} came in the place of {first}")
                        done = replace(done + read_done(item), of=of)
                        tell(done)
                        first, attempt = first + 1, 0
                        sections = (first, stop)
                        yield found
                        if progress is not None:
                            progress(first - begun, stop - begun)
                if first != stop:
                    raise BadReply(f"the sections from {first} are absent")
            except IncompleteReply:
                is_broken = True
                if attempt == self._connections.retries:
                    raise
                self._connections.pause(attempt)
                attempt += 1
        if is_broken and self._plan({**members, "reducer": reducer}).digest != digest:
            raise PlanOutdated("the array has changed while it was reduced; ask again")

    def _plan(self, members: Item) -> Plan:
        with self._post("plan", members) as reply:
            return read_plan(read_map(reply))

    def _post(self, name: str, members: Item) -> AbstractContextManager[Reply]:
        body = cbor2.dumps({key: value for key, value in members.items() if value is not None})
        target = f"/arrays/v1/{quote(name, safe='')}"
        return self._connections.ask("POST", target, read_json_error, self._make_headers, body)

    def _make_headers(self) -> dict[str, str]:
        return {"Content-Type": _CBOR, **self._keys.make_basic()}

    # The service

    def _document(self) -> Document:
        """The service's discovery document, which is asked for once.

        Raises:
            ServiceTooOld: The server is another program, or another version of the service.
        """
        if self._known is not None:
            # Without the lock, which another thread could have held when this process was forked.
            return self._known
        with self._lock:
            if self._known is None:
                with self._connections.ask("GET", DISCOVERY_PATH, self._read_discovery_error, dict) as reply:
                    self._known = read_document(reply.read())
                if self._known is None:
                    raise self._is_too_old()
            return self._known

    def _read_discovery_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ActiveStorageError:
        # A 5xx shows only that it fails at the moment.
        return read_xml_error(status, headers, body) if status >= 500 else self._is_too_old()

    def _is_too_old(self) -> ServiceTooOld:
        return ServiceTooOld(f"{self._origin} is no active storage, or of a version that this client does not know")


def _ensure_result(result: Result | None) -> Result:
    if result is None:
        raise BadReply("the reply has no result")
    return result
