"""The settings, as one frozen value. Only this module reads the environment.

Values are checked here, once; the rest of the service trusts them. docs/settings.md lists the same names, and a test
compares the two.
"""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from active_storage.model.origins import Origin, OriginPattern
from handler.affinity import count_cores

ENV_PREFIX = "ACTIVE_STORAGE_"
_ENV_FILE = ".env"

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_RE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h)", re.ASCII)
_DOMAIN_RE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
# An old and a new token, while the store is reconfigured with the new one.
_MAX_TOKENS = 2
_TOKEN_RE = re.compile(r"[!-+\--~]+( [!-+\--~]+)?", re.ASCII)
_REGION_RE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_BIND_RE = re.compile(r"\S+:[0-9]{1,5}|unix:\S+", re.ASCII)


# Settings of earlier versions, with the reasons why they no longer have an effect.
_REMOVED = {
    "MAX_EXPANSION": "no longer has an effect: MAX_OBJECT_MEMORY and DEADLINE limit decoding, at any compression ratio",
}


class SettingsError(Exception):
    """A setting has an invalid value. The message names the setting, and never contains the value."""


def _parse_seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _DURATION_RE.fullmatch(value.strip())
    if match is None:
        raise ValueError("should be a number with the unit ms, s, m or h, such as 500ms or 30s")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _parse_bytes(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    try:
        return parse(value)
    except ValidationError:
        # pydantic's message repeats a part of the value.
        raise ValueError("should be a number of bytes, or a number with a unit, such as 512MiB") from None


def _write_seconds(value: float) -> str:
    return f"{value:g}s"


def _parse_patterns(text: str) -> tuple[OriginPattern, ...]:
    return tuple(OriginPattern.parse(part.strip()) for part in text.split(",") if part.strip())


def _ensure_endpoint(text: str) -> str:
    # It must be a valid pattern too, since it is on the allow-list by default.
    OriginPattern.parse(text)
    return str(Origin.parse(text))


def _ensure_patterns(text: str) -> str:
    return ",".join(str(pattern) for pattern in _parse_patterns(text))


def _ensure_tokens(value: SecretStr) -> SecretStr:
    tokens = _split_tokens(value)
    if not 1 <= len(tokens) <= _MAX_TOKENS or not all(_TOKEN_RE.fullmatch(token) for token in tokens):
        raise ValueError("should be one token or two, comma-separated, each a single word or a scheme and a word")
    return value


def _split_tokens(value: SecretStr) -> tuple[str, ...]:
    return tuple(token.strip() for token in value.get_secret_value().split(","))


def _matching(pattern: re.Pattern[str], fault: str) -> AfterValidator:
    def ensure(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(fault)
        return value

    return AfterValidator(ensure)


Bytes = Annotated[ByteSize, WrapValidator(_parse_bytes), Field(ge=1)]
Seconds = Annotated[
    float, BeforeValidator(_parse_seconds), PlainSerializer(_write_seconds, when_used="json"), Field(gt=0)
]
Endpoint = Annotated[str, AfterValidator(_ensure_endpoint)]
Patterns = Annotated[str, AfterValidator(_ensure_patterns)]
Domain = Annotated[str, _matching(_DOMAIN_RE, "should be a DNS name such as s3-proxy.example.org")]
Region = Annotated[str, _matching(_REGION_RE, "should be the name of a region, such as us-east-1")]
Tokens = Annotated[SecretStr, AfterValidator(_ensure_tokens)]
Address = Annotated[str, _matching(_BIND_RE, "should be host:port or unix:path")]


class Settings(BaseSettings):
    """All settings. In the environment and in ``.env``, their names have the prefix ``ACTIVE_STORAGE_``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=_ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    s3_endpoint: Endpoint = Field("http://localhost:9000", description="the store behind the direct proxy")
    s3_public_endpoint: Endpoint | None = Field(
        None, description="the address of the store that clients sign for, if it is not S3_ENDPOINT"
    )
    allowed_origins: Patterns = Field(
        "",
        description="origins to fetch from, comma-separated, * for a whole label; default: the two endpoints",
    )
    # Most stores are in private networks. A name that resolves to a nearer address is rarely intended.
    allow_special_addresses: bool = Field(
        False,
        description="whether names may resolve to loopback and link-local addresses; never to a metadata service",
    )
    # S3's own default region.
    s3_region: Region = Field(
        "us-east-1", description="the region that the JSON interface signs for, unless the store names another"
    )
    webhook_tokens: Tokens | None = Field(
        None, description="up to two live tokens of the object-lambda webhook, comma-separated"
    )
    base_domain: Domain | None = Field(
        None, description="the domain of virtual-host style requests: reducer.base_domain/dtype/bucket/key"
    )
    bind: Address = Field("127.0.0.1:8000", description="the address on which gunicorn listens")
    workers: int = Field(
        default_factory=count_cores,
        ge=1,
        description="number of gunicorn processes; default: one for each core",
    )
    # A thread mostly waits for the store. A thread that has worked keeps a block of memory. If a worker has more
    # connections than threads, all of them become slower.
    threads: int = Field(32, ge=1, description="number of threads in each process")
    memory_limit: Bytes = Field(
        ByteSize(1 << 30), description="memory for requests in one process; 503 SlowDown if it is exceeded"
    )
    max_object_memory: Bytes = Field(
        ByteSize(512 << 20), description="memory for one request; 400 EntityTooLarge if it is exceeded"
    )
    cache_bytes: Annotated[ByteSize, WrapValidator(_parse_bytes), Field(ge=0)] = Field(
        ByteSize(64 << 20),
        description="memory for metadata and results that a process keeps for later requests, inside memory_limit; "
        "0 keeps nothing",
    )
    # A table of a million chunks takes 20 MB.
    max_request_bytes: Bytes = Field(
        ByteSize(64 << 20),
        description="maximum size of a CBOR request; 400 EntityTooLarge if it is exceeded",
    )
    # The metadata of a store of a thousand arrays takes some MB, and the places of a million chunks some 30 MB.
    max_metadata_bytes: Bytes = Field(
        ByteSize(64 << 20),
        description="maximum bytes of metadata, indexes and references that one request for a whole array reads",
    )
    max_metadata_requests: int = Field(4096, ge=1, description="maximum number of requests for them")
    max_references: int = Field(1_000_000, ge=1, description="maximum number of chunks that an index names")
    # A day of work for one process, if a chunk takes 10 ms.
    max_chunks: int = Field(10_000_000, ge=1, description="maximum number of chunks that one request touches")
    # Two are usual. More are needed if there is little memory.
    quantile_passes: int = Field(4, ge=1, description="maximum number of passes over the data for an exact quantile")
    connect_timeout: Seconds = Field(5.0, description="timeout for connecting to the store")
    read_timeout: Seconds = Field(
        30.0, description="timeout for the next bytes from the store, or from a client within a request"
    )
    # MinIO and AWS abandon an object lambda after 60 s. A later reply would be discarded.
    deadline: Seconds = Field(55.0, description="maximum time for a whole request")
    array_deadline: Seconds = Field(
        3600.0, description="maximum time for a request to POST /arrays/v1/; DEADLINE limits each of its sections"
    )
    retries: int = Field(3, ge=1, description="number of tries for one range; each resumes where the last one ended")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the lowest level that is logged"
    )
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")

    @cached_property
    def store(self) -> Origin:
        """The origin to connect to for the store of the direct proxy."""
        return Origin.parse(self.s3_endpoint)

    @cached_property
    def public_store(self) -> Origin:
        """The same store at the address that clients sign for."""
        return Origin.parse(self.s3_public_endpoint or self.s3_endpoint)

    @cached_property
    def live_tokens(self) -> tuple[str, ...]:
        """The tokens that the webhook accepts; empty if it requires none."""
        return () if self.webhook_tokens is None else _split_tokens(self.webhook_tokens)

    @cached_property
    def allow_list(self) -> tuple[OriginPattern, ...]:
        """The origins that may be fetched from: ``allowed_origins``, or the two endpoints if that is not set."""
        return _parse_patterns(self.allowed_origins or f"{self.store},{self.public_store}")


def find_unknown() -> list[str]:
    """A message for each name with our prefix, in the environment or in ``.env``, that is not a setting.

    This is not an error: Kubernetes sets such names in every container, for the services in its namespace.
    """
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    # The service that the command line asks, which is set in the same shell.
    known.add(f"{ENV_PREFIX}SERVICE")
    names = {name.upper() for name in (*os.environ, *dotenv_values(_ENV_FILE)) if name.upper().startswith(ENV_PREFIX)}
    lines = []
    for name in sorted(names - known):
        if (removed := _REMOVED.get(name.removeprefix(ENV_PREFIX))) is not None:
            lines.append(f"{name} {removed}")
            continue
        near = get_close_matches(name, known, n=1, cutoff=0.9)
        lines.append(f"{name} is not a setting{f'; did you mean {near[0]}?' if near else ''}")
    return lines


def load_settings(flags: Sequence[str] = ()) -> Settings:
    """The settings from command-line flags, then the environment, then ``.env``, then the defaults.

    Raises:
        SettingsError: A setting has an invalid value; the message names it.
    """
    try:
        # These two arguments are documented by pydantic-settings, but only pydantic's mypy plugin knows them.
        return Settings(_cli_parse_args=list(flags), _cli_prog_name="active-storage")  # type: ignore[call-arg]
    except ValidationError as error:
        faults = (
            f"{ENV_PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            if fault["loc"]
            else fault["msg"]
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError("\n".join(faults)) from None
