"""Which W&B server is meant, whether there is a login, and what is kept to this machine: the same in both rooms, and
what the genuine SDK says."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from tests_support import ROOT

import plugins.wandb_sdk
import training.wandb_sdk
from plugins.checkpoints.wandb import WandbStore
from plugins.trackers.wandb import WandbTracker

ROOMS = (plugins.wandb_sdk, training.wandb_sdk)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of the user's says anything."""
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)


def log_in(host: str) -> None:
    Path("netrc").write_text(f"machine {host}\n  login user\n  password {'a' * 40}\n")


def configure(folder: str, url: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "settings").write_text(f"[default]\nbase_url = {url}\n")


def servers_of_the_sdk() -> str:
    """The server that the SDK itself finds."""
    import wandb

    settings = wandb.Settings()
    settings.settings_system = str(Path("user/settings").absolute())
    settings.silent = True
    settings.update_from_system_settings()
    return settings.base_url.rstrip("/")


@pytest.mark.parametrize("room", ROOMS)
def test_the_server_is_the_environments_else_the_folders_else_the_users(
    room: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room.server() in room.PUBLIC
    configure("user", "https://users.example/")
    assert room.server() == servers_of_the_sdk() == "https://users.example"
    configure("wandb", "https://folders.example")
    assert room.server() == servers_of_the_sdk() == "https://folders.example"
    configure(".wandb", "https://hidden.example")
    assert room.server() == servers_of_the_sdk() == "https://hidden.example"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1/")
    assert room.server() == "http://127.0.0.1:1"


@pytest.mark.parametrize("room", ROOMS)
def test_a_login_is_for_a_server(room: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not room.logged_in()
    for public in room.PUBLIC:
        log_in(public.removeprefix("https://"))
        assert room.logged_in()
        assert room.server() == public
    configure("user", "https://team.example:8443")
    assert not room.logged_in()
    for host in ("team.example", "team.example:8443"):
        log_in(host)
        assert room.logged_in()
    Path("netrc").write_text("machine")
    assert not room.logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert room.logged_in()


def test_both_rooms_keep_the_same_to_this_machine() -> None:
    import wandb

    one, other = ROOMS
    assert (one.UNSAID, one.PUBLIC) == (other.UNSAID, other.PUBLIC)
    assert one.UNSAID.keys() <= wandb.Settings.model_fields.keys()
    variables = training.wandb_sdk.UNSAID_VARIABLES
    settings = wandb.Settings()
    settings.update_from_env_vars(dict(variables))
    told = {name: getattr(settings, name) for name in one.UNSAID}
    assert {**told, "host": told["host"].strip()} == {
        **one.UNSAID,
        "disable_job_creation": told["disable_job_creation"],
    }


@pytest.mark.parametrize("room", ROOMS)
def test_settings_that_the_sdk_does_not_know_are_left_out(room: ModuleType) -> None:
    import wandb

    known = room.silent(finish_timeout=3, of_a_later_version=True)
    assert known["finish_timeout"] == 3
    assert "of_a_later_version" not in known
    assert wandb.Settings(**known).silent


def test_the_documented_options_are_those_that_there_are() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    documented = tomllib.loads(
        next(part for part in page.split("```") if 'store = "wandb"' in part).removeprefix("toml")
    )
    store = inspect.signature(WandbStore).parameters
    assert documented["checkpoints"].keys() - {"store"} == store.keys()
    tracker = inspect.signature(WandbTracker).parameters
    assert documented["trackers"]["wandb"].keys() == tracker.keys() - {"home"}
    defaults = {name: tracker[name].default for name in ("samples", "side", "heatmaps", "patience")}
    assert {name: documented["trackers"]["wandb"][name] for name in defaults} == defaults
    assert documented["checkpoints"]["timeout"] == store["timeout"].default
    assert documented["checkpoints"]["registry_aliases"] == list(store["registry_aliases"].default)
