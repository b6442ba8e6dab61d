"""Checks of the Containerfile and the compose file that need no container engine."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deploy" / "Containerfile"
COMPOSE = ROOT / "deploy" / "minio" / "compose.yaml"
ENV_FILE = ROOT / "deploy" / "minio" / "minio.env"
# Data, not text.
ARRAYS = ROOT / "deploy" / "local" / "arrays"

SETTINGS = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
_OURS_RE = re.compile(rf"\b{ENV_PREFIX}[A-Z0-9_]+")
_WEBHOOK_RE = re.compile(r"MINIO_LAMBDA_WEBHOOK_(ENABLE|ENDPOINT|AUTH_TOKEN)_(\w+)")


def read_services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def read_env_file() -> dict[str, str]:
    lines = [line for line in ENV_FILE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def instructions(word: str) -> list[list[str]]:
    lines = CONTAINERFILE.read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{word} ")]


def webhook_names(environment: dict[str, str]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for name in environment:
        if match := _WEBHOOK_RE.fullmatch(name):
            names.setdefault(match[2], set()).add(match[1])
    return names


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((ROOT / "deploy").rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc") and ARRAYS not in path.parents
    ],
    ids=lambda path: path.name,
)
def test_every_setting_in_the_file_exists(path: Path) -> None:
    assert set(_OURS_RE.findall(path.read_text())) <= SETTINGS


def test_the_files_that_the_containerfile_copies_exist_and_are_not_ignored() -> None:
    copied = [source for line in instructions("COPY") if not line[0].startswith("--from=") for source in line[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_last_user_of_the_image_is_not_root() -> None:
    assert all(int(user.split(":")[0]) > 0 for [user] in instructions("USER"))
    assert instructions("USER")


def test_every_image_has_a_fixed_version() -> None:
    images = [default.split("=", 1)[1] for [default] in instructions("ARG")]
    images += [service["image"] for service in read_services().values() if "build" not in service]
    assert all(re.fullmatch(r"(\$\{MINIO_IMAGE:-)?[a-z/]+:(?!latest)[^\s}]+}?", image) for image in images), images


@pytest.mark.parametrize("name", read_services())
def test_a_service_of_the_compose_file_is_confined(name: str) -> None:
    service = read_services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_compose_file_gives_both_the_same_token_and_contains_no_secret() -> None:
    minio, service = (read_services()[name]["environment"] for name in ("minio", "active-storage"))
    tokens = [value for name, value in minio.items() if "_AUTH_TOKEN_" in name]
    tokens.append(service["ACTIVE_STORAGE_WEBHOOK_TOKENS"])
    assert {re.sub(r":\?.*(?=})", "", token) for token in tokens} == {"${WEBHOOK_TOKEN}"}


def test_the_service_may_fetch_what_minio_links_to() -> None:
    minio, service = (read_services()[name]["environment"] for name in ("minio", "active-storage"))
    assert service["ACTIVE_STORAGE_ALLOWED_ORIGINS"] == minio["MINIO_SERVER_URL"]


def test_each_webhook_of_the_compose_file_has_its_three_variables() -> None:
    names = webhook_names(read_services()["minio"]["environment"])
    assert names == {"sum": {"ENABLE", "ENDPOINT", "AUTH_TOKEN"}, "reduce": {"ENABLE", "ENDPOINT", "AUTH_TOKEN"}}


def test_each_webhook_of_the_env_file_has_its_two_variables_and_no_token() -> None:
    assert webhook_names(read_env_file()) == {"sum": {"ENABLE", "ENDPOINT"}, "reduce": {"ENABLE", "ENDPOINT"}}
