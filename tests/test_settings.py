"""Settings: their sources, their reference in the README, and errors that name a setting but not its value."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from handler.cli import main
from handler.settings import ENV_PREFIX, Settings, SettingsError, load_settings
from tests.helpers import make_settings

SETTINGS_PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_page_lists_every_setting_and_no_other() -> None:
    listed = re.findall(r"^\| `([A-Z0-9_]+)` \|", SETTINGS_PAGE.read_text(), re.MULTILINE)
    assert listed == [name.upper() for name in Settings.model_fields]


def test_flags_override_the_environment_the_file_and_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ACTIVE_STORAGE_THREADS=2\nACTIVE_STORAGE_RETRIES=5\nACTIVE_STORAGE_WORKERS=3\n")
    monkeypatch.setenv("ACTIVE_STORAGE_THREADS", "4")
    monkeypatch.setenv("ACTIVE_STORAGE_RETRIES", "6")
    settings = load_settings(["--threads", "8"])
    assert (settings.threads, settings.retries, settings.workers, settings.deadline) == (8, 6, 3, 55.0)


def test_sizes_and_times_have_units() -> None:
    settings = make_settings(memory_limit="2MiB", max_object_memory="512 KiB", deadline="1.5m", read_timeout="250ms")
    assert (settings.memory_limit, settings.max_object_memory) == (2 << 20, 512 << 10)
    assert (settings.deadline, settings.read_timeout) == (90.0, 0.25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_ENDPOINT", "ftp://store"),
        ("S3_ENDPOINT", "http://user:canary@store"),
        ("S3_ENDPOINT", "http://store/path"),
        ("S3_ENDPOINT", "http://*.store"),
        ("S3_ENDPOINT", "http://127.1:9000"),
        ("S3_REGION", "EU West"),
        ("ALLOW_SPECIAL_ADDRESSES", "perhaps"),
        ("ALLOWED_ORIGINS", "http://2130706433:9000"),
        ("ALLOWED_ORIGINS", "https://*store.org"),
        ("ALLOWED_ORIGINS", "store.org"),
        ("BASE_DOMAIN", "http://proxy"),
        ("BIND", "8000"),
        ("WORKERS", "0"),
        ("THREADS", "many"),
        ("MEMORY_LIMIT", "0"),
        ("MAX_OBJECT_MEMORY", "big"),
        ("MEMORY_LIMIT", "12canary"),
        ("S3_ENDPOINT", "http://host:canary"),
        ("S3_ENDPOINT", "http://[canary]"),
        ("ALLOWED_ORIGINS", "http://a,http://canary\N{ACCOUNT OF}"),
        ("CONNECT_TIMEOUT", "5"),
        ("DEADLINE", "-1s"),
        ("DEADLINE", "0s"),
        ("RETRIES", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_an_invalid_setting_is_an_error_without_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(SettingsError, match=f"^{ENV_PREFIX}{name}: "):
        load_settings()
    assert main(["check-config"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"{ENV_PREFIX}{name}: ")
    assert "canary" not in shown


def test_check_config_prints_the_effective_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--s3-endpoint", "http://store:9000", "--threads", "4"]) == 0
    lines = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["ACTIVE_STORAGE_S3_ENDPOINT"] == "http://store:9000"
    assert lines["ACTIVE_STORAGE_S3_PUBLIC_ENDPOINT"] == lines["ACTIVE_STORAGE_ALLOWED_ORIGINS"] == "http://store:9000"
    assert lines["ACTIVE_STORAGE_THREADS"] == "4"
    assert lines["ACTIVE_STORAGE_DEADLINE"] == "55s"
    assert len(lines) == len(Settings.model_fields)


def test_the_output_of_check_config_is_a_valid_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Except tokens, which are masked, and printed as a comment."""
    flags = ["--memory-limit", "3MiB", "--read-timeout", "500ms", "--webhook-tokens", "canary"]
    assert main(["check-config", *flags]) == 0
    printed = capsys.readouterr().out
    assert "canary" not in printed
    assert f"{ENV_PREFIX}MAX_OBJECT_MEMORY={3 << 20}\n" in printed
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(printed)
    settings = load_settings()
    assert (settings.read_timeout, settings.memory_limit, settings.webhook_tokens) == (0.5, 3 << 20, None)


def test_a_misspelt_setting_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not an error: Kubernetes sets such names in containers, for the services in their namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{ENV_PREFIX}S3_ENDPOIT", "https://canary")
    (tmp_path / ".env").write_text(f"{ENV_PREFIX}SERVICE_HOST=canary\n{ENV_PREFIX}THREADS=4\n")
    assert main(["check-config"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"{ENV_PREFIX}S3_ENDPOIT is not a setting; did you mean {ENV_PREFIX}S3_ENDPOINT?",
        f"{ENV_PREFIX}SERVICE_HOST is not a setting",
    ]


def test_a_setting_that_was_removed_is_reported_and_has_no_effect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{ENV_PREFIX}MAX_EXPANSION=canary\n")
    assert main(["check-config"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{ENV_PREFIX}MAX_EXPANSION no longer has an effect: ")
    (tmp_path / ".env").unlink()
    monkeypatch.setenv(f"{ENV_PREFIX}MAX_EXPANSION", "5")
    assert main(["check-config"]) == 0
    assert capsys.readouterr().err.splitlines() == [line]


def test_an_unknown_command_prints_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["dance"]) == 2
    assert "active-storage serve" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["flask", "gunicorn"])
def test_without_the_extra_server_the_command_says_what_to_install(library: str) -> None:
    program = f"import sys; sys.modules['{library}'] = None; from handler.cli import main; sys.exit(main(['serve']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{library} is not installed: ")
    assert "pip install . './handler[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_both_endpoints_are_allowed_by_default() -> None:
    settings = make_settings(s3_endpoint="http://minio:9000", s3_public_endpoint="https://s3.example.org")
    assert [str(pattern) for pattern in settings.allow_list] == ["http://minio:9000", "https://s3.example.org"]
    narrowed = make_settings(allowed_origins="https://*.s3.amazonaws.com, http://minio:9000")
    assert [str(pattern) for pattern in narrowed.allow_list] == ["https://*.s3.amazonaws.com", "http://minio:9000"]
