"""Train a checkpoint as a config says, and publish it to the registry."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec
from pydantic import BaseModel, ConfigDict

from harness import ConfigError, Session, UnknownName, Version, open_session, read_yaml
from training.stages import STAGES


class Stage(Protocol):
    """What the settings of every stage have."""

    @property
    def name(self) -> str:
        """Under which the checkpoint is published."""

    @property
    def stage(self) -> str: ...

    def data_digests(self, session: Session) -> dict[str, str]:
        """What it learns from: benchmark -> digest of the training samples."""


class _AnyStage(BaseModel):
    model_config = ConfigDict(extra="allow")

    stage: str = ""


@click.command("train")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(config: Path, as_json: bool) -> None:
    """Train the checkpoint that CONFIG describes, and publish it.

    The same command after an interruption goes on where it stopped; after completion it only says what it made.
    """
    settings, run = read_stage(config)
    with open_session() as session:
        version, fresh = train(settings, run, session)
    document = {"checkpoint": str(version), "digest": version.digest, "new": fresh, "size": version.size}
    if as_json:
        click.echo(msgspec.json.encode(document))
    else:
        click.echo(f"{'published' if fresh else 'there already:'} {version} ({version.size / 1e6:.1f} MB)")


def read_stage(config: Path) -> tuple[Any, Callable[..., Path]]:
    """A config's settings, and the function that carries them out.

    Raises:
        ConfigError: it cannot be read, names no stage, or holds a wrong key.
    """
    name = read_yaml(config, _AnyStage).stage
    if not name:
        raise ConfigError(f"names no stage; write `stage:` and one of {', '.join(STAGES)}", config)
    if name not in STAGES:
        raise ConfigError(str(UnknownName("stage", name, STAGES)), config)
    module_name, _, model = STAGES[name].partition(":")
    module = importlib.import_module(module_name)
    return read_yaml(config, getattr(module, model)), module.run


def train(settings: Any, run: Callable[..., Path], session: Session) -> tuple[Version, bool]:
    """The published version, and whether this call made it."""
    recipe = {"settings": settings.model_dump(mode="json"), "data": settings.data_digests(session)}
    digest = hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()
    store = session.checkpoints
    if settings.name in store.names():
        for version in store.versions(settings.name):
            if version.metadata.get("recipe_digest") == digest:
                return version, False
    output = session.home / "training" / f"{settings.stage}-{digest[:12]}"
    directory = run(settings, session, output=output)
    metadata = {"recipe_digest": digest, **recipe}
    return store.publish(directory, settings.name, metadata=metadata), True
