"""Where a model comes from: the checkpoint store, a folder or the hub; and whether it can be a model at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, PreTrainedConfig

from harness import CheckpointError, Resolved

BROKEN = (
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
"""What transformers raises on a checkpoint that it cannot read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where `from_pretrained` reads: a folder, or a repository at a commit."""

    name: str
    commit: str | None = None

    def arguments(self) -> dict[str, Any]:
        """What every `from_pretrained` is given. Code that comes with a checkpoint is never run."""
        return {
            "pretrained_model_name_or_path": self.name,
            "revision": self.commit or "main",
            "local_files_only": self.commit is None,
            "trust_remote_code": False,
        }


class Source(Protocol):
    """Where a model comes from; picklable.

    Attributes of the checkpoint are those of `ModelSpec`; `identity` stands for its bytes in a fingerprint.
    """

    @property
    def version(self) -> str | None: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def identity(self) -> str: ...

    def place(self) -> Place:
        """Where its files are, checked out if need be."""


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A checkpoint of the store, or a folder."""

    checkpoint: Resolved

    @property
    def version(self) -> str | None:
        return self.checkpoint.version

    @property
    def digest(self) -> str | None:
        return self.checkpoint.digest

    @property
    def identity(self) -> str:
        return self.checkpoint.digest

    def place(self) -> Place:
        folder = self.checkpoint.checkout()
        check_folder(folder)
        return Place(str(folder))


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the hub, pinned to the commit that its revision named."""

    repository: str
    commit: str

    @property
    def version(self) -> str | None:
        return self.commit

    @property
    def digest(self) -> str | None:
        return None

    @property
    def identity(self) -> str:
        return f"{self.repository}@{self.commit}"

    def place(self) -> Place:
        return Place(self.repository, self.commit)


def pinned(repository: str, revision: str | None) -> HubSource:
    """A repository at the commit that the revision names now.

    Raises:
        CheckpointError: it is unknown or cannot be reached, or holds another kind of model.
    """
    hint = f"check name and revision, log in if it is gated, or download it and name the folder: hf:./{repository}"
    try:
        snapshot = Path(hf_hub_download(repository, "config.json", revision=revision)).parent
        config = AutoConfig.from_pretrained(snapshot, local_files_only=True, trust_remote_code=False)
    except BROKEN as error:
        raise CheckpointError(f"{repository}: not on the hub, or out of reach ({brief(error)}); {hint}") from error
    _check_kind(config, repository)
    # The hub's cache names a snapshot's folder by its commit.
    return HubSource(repository, snapshot.name)


def fingerprint(plugin: str, revision: int, source: Source, settings: Any) -> str:
    """The hash of all that answers depend on.

    Args:
        plugin, revision: the plugin's name, and a number that changes whenever its answers do.
        source: the checkpoint.
        settings: a dataclass of its options.
    """
    content = {"plugin": [plugin, revision], "weights": source.identity, "settings": asdict(settings)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_folder(path: Path | str) -> None:
    """Look whether a folder can be a model for pictures and text, without loading its weights.

    Raises:
        CheckpointError: it cannot, and what to do about it.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; a model is a folder that save_pretrained wrote")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: no config.json in it; a model is a folder that save_pretrained wrote")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except BROKEN as error:
        raise CheckpointError(f"{folder / 'config.json'}: cannot be used ({brief(error)})") from error
    _check_kind(config, str(folder))
    if not any(folder.glob("*.safetensors")):
        _refuse_weights(folder)
    if not any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        raise CheckpointError(f"{folder}: no processor in it; add the model's: processor.save_pretrained('{folder}')")


def _check_kind(config: PreTrainedConfig, name: str) -> None:
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise CheckpointError(
            f"{name}: a {config.model_type!r} is no model for pictures and text; "
            "AutoModelForImageTextToText must be able to load it"
        )


def _refuse_weights(folder: Path) -> None:
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if not pickles:
        raise CheckpointError(f"{folder}: no weights (*.safetensors) in it; save the model with save_pretrained")
    raise CheckpointError(
        f"{folder}: its weights are pickles ({', '.join(pickles[:3])}), which can run code when they are loaded; "
        "if you trust them, convert them once: "
        'python -c "from transformers import AutoModelForImageTextToText as M; '
        f"M.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')\""
    )


def brief(error: BaseException) -> str:
    """The first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
