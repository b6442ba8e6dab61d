"""The only reader of the environment: every setting, with its reason, as one frozen value.

A value is checked here, once; the rest of the service is given plain values and trusts them. docs/settings.md lists
the same names, and a test compares the two.
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

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION_RE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m)", re.ASCII)
_DOMAIN_RE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
# The old one and the new one, while a store is told of the new one.
_MAX_TOKENS = 2
_TOKEN_RE = re.compile(r"[!-+\--~]+( [!-+\--~]+)?", re.ASCII)
_REGION_RE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_BIND_RE = re.compile(r"\S+:[0-9]{1,5}|unix:\S+", re.ASCII)


# Settings of earlier versions, and why they have no effect any more.
_REMOVED = {
    "MAX_EXPANSION": "has no effect any more: MAX_OBJECT_MEMORY and DEADLINE bound what is decoded, whatever its ratio",
}


class SettingsError(Exception):
    """A setting has a value that it cannot have. The message names the setting, and never shows the value."""


def _parse_seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _DURATION_RE.fullmatch(value.strip())
    if match is None:
        raise ValueError("a time is a number with ms, s or m, such as 500ms or 30s")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _parse_bytes(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    try:
        return parse(value)
    except ValidationError:
        # pydantic's text repeats the unit.
        raise ValueError("a size is a number of bytes, or one with a unit, such as 512MiB") from None


def _write_seconds(value: float) -> str:
    return f"{value:g}s"


def _parse_patterns(text: str) -> tuple[OriginPattern, ...]:
    return tuple(OriginPattern.parse(part.strip()) for part in text.split(",") if part.strip())


def _ensure_endpoint(text: str) -> str:
    # As a pattern too, since it is on the allow-list by default.
    OriginPattern.parse(text)
    return str(Origin.parse(text))


def _ensure_patterns(text: str) -> str:
    return ",".join(str(pattern) for pattern in _parse_patterns(text))


def _ensure_tokens(value: SecretStr) -> SecretStr:
    tokens = _split_tokens(value)
    if not 1 <= len(tokens) <= _MAX_TOKENS or not all(_TOKEN_RE.fullmatch(token) for token in tokens):
        raise ValueError("there are one or two tokens, comma-separated, each of one word, or a scheme and a word")
    return value


def _split_tokens(value: SecretStr) -> tuple[str, ...]:
    return tuple(token.strip() for token in value.get_secret_value().split(","))


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def ensure(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(what)
        return value

    return AfterValidator(ensure)


Bytes = Annotated[ByteSize, WrapValidator(_parse_bytes), Field(ge=1)]
Seconds = Annotated[
    float, BeforeValidator(_parse_seconds), PlainSerializer(_write_seconds, when_used="json"), Field(gt=0)
]
Endpoint = Annotated[str, AfterValidator(_ensure_endpoint)]
Patterns = Annotated[str, AfterValidator(_ensure_patterns)]
Domain = Annotated[str, _matching(_DOMAIN_RE, "a domain is a DNS name such as s3-proxy.example.org")]
Region = Annotated[str, _matching(_REGION_RE, "a region is a word such as us-east-1")]
Tokens = Annotated[SecretStr, AfterValidator(_ensure_tokens)]
Address = Annotated[str, _matching(_BIND_RE, "an address is host:port or unix:path")]


class Settings(BaseSettings):
    """Every setting. Environment variables have the prefix ``ACTIVE_STORAGE_``; ``.env`` and flags give the same."""

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
        None, description="the address that clients sign for, where it is not S3_ENDPOINT"
    )
    allowed_origins: Patterns = Field(
        "",
        description="what any door may fetch from, comma-separated, * for whole labels; default the two endpoints",
    )
    # A private network is where most stores are; what is nearer than that is rarely meant by a name.
    allow_special_addresses: bool = Field(
        False, description="allowed names may resolve to loopback, link-local and the like; never to a metadata service"
    )
    # What S3 has been signed for by default since there were regions.
    s3_region: Region = Field(
        "us-east-1", description="the region that the JSON interface signs for, until a store names another"
    )
    webhook_tokens: Tokens | None = Field(
        None, description="up to two live tokens of the object-lambda webhook, comma-separated"
    )
    base_domain: Domain | None = Field(
        None, description="the domain of virtual-host style requests: reducer.base_domain/dtype/bucket/key"
    )
    bind: Address = Field("127.0.0.1:8000", description="where gunicorn listens")
    workers: int = Field(
        default_factory=count_cores,
        ge=1,
        description="gunicorn processes; default one a core",
    )
    # A thread waits for the store most of its time, and costs a block of memory once it was needed. A worker with more
    # connections than threads is slower with all of them.
    threads: int = Field(32, ge=1, description="threads in each process")
    memory_limit: Bytes = Field(
        ByteSize(1 << 30), description="bytes of request data that one process may hold; over it 503 SlowDown"
    )
    max_object_memory: Bytes = Field(
        ByteSize(512 << 20), description="bytes that one request may hold; over it 400 EntityTooLarge"
    )
    connect_timeout: Seconds = Field(5.0, description="for a connection to the store")
    read_timeout: Seconds = Field(30.0, description="for the next bytes of the store, or of a client in a request")
    # MinIO and AWS give up on an object lambda after 60 s: an answer that comes later is work for nobody.
    deadline: Seconds = Field(55.0, description="for a request from beginning to end")
    retries: int = Field(3, ge=1, description="tries for one range, resumed where it broke off")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")

    @cached_property
    def store(self) -> Origin:
        """Where the store of the direct proxy is connected to."""
        return Origin.parse(self.s3_endpoint)

    @cached_property
    def public_store(self) -> Origin:
        """The same store as clients know it, whose host their signatures cover."""
        return Origin.parse(self.s3_public_endpoint or self.s3_endpoint)

    @cached_property
    def live_tokens(self) -> tuple[str, ...]:
        """The tokens that the webhook takes; none where it asks for none."""
        return () if self.webhook_tokens is None else _split_tokens(self.webhook_tokens)

    @cached_property
    def allow_list(self) -> tuple[OriginPattern, ...]:
        """What may be fetched from: ``allowed_origins``, or the two endpoints where none is set."""
        return _parse_patterns(self.allowed_origins or f"{self.store},{self.public_store}")


def find_unknown() -> list[str]:
    """What is set, in the environment or in ``.env``, under a name with our prefix that no setting has.

    No error: Kubernetes gives every container such names of the services beside it.
    """
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    given = {name.upper() for name in (*os.environ, *dotenv_values(_ENV_FILE)) if name.upper().startswith(ENV_PREFIX)}
    lines = []
    for name in sorted(given - known):
        if (removed := _REMOVED.get(name.removeprefix(ENV_PREFIX))) is not None:
            lines.append(f"{name} {removed}")
            continue
        near = get_close_matches(name, known, n=1, cutoff=0.9)
        lines.append(f"{name} is no setting{f'; {near[0]} is' if near else ''}")
    return lines


def load_settings(flags: Sequence[str] = ()) -> Settings:
    """The settings from command-line flags, then the environment, then ``.env``, then the defaults.

    Raises:
        SettingsError: One of them has a value that it cannot have; the message names it.
    """
    try:
        # pydantic's mypy plugin would know these two; without it they are what its documentation says they are.
        return Settings(_cli_parse_args=list(flags), _cli_prog_name="active-storage")  # type: ignore[call-arg]
    except ValidationError as error:
        faults = (
            f"{ENV_PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            if fault["loc"]
            else fault["msg"]
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError("\n".join(faults)) from None
