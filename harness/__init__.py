"""The promised API: what plugins, training code and notebooks may import. Names are loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a type checker sees; `_HOMES` is what runs, and a test holds them together
    from harness.checkouts import folder_reference as folder_reference
    from harness.config import read_yaml as read_yaml
    from harness.digests import FileDigest as FileDigest
    from harness.digests import digest_directory as digest_directory
    from harness.digests import file_digest as file_digest
    from harness.digests import file_sha256 as file_sha256
    from harness.digests import list_files as list_files
    from harness.digests import manifest_digest as manifest_digest
    from harness.environment import holds_token as holds_token
    from harness.environment import names_secret as names_secret
    from harness.errors import CheckpointError as CheckpointError
    from harness.errors import ConfigError as ConfigError
    from harness.errors import DataError as DataError
    from harness.errors import GateFailed as GateFailed
    from harness.errors import HarnessError as HarnessError
    from harness.errors import ImageError as ImageError
    from harness.errors import Incomplete as Incomplete
    from harness.errors import IntegrityError as IntegrityError
    from harness.errors import LostClaim as LostClaim
    from harness.errors import MissingExtra as MissingExtra
    from harness.errors import PluginError as PluginError
    from harness.errors import StoreError as StoreError
    from harness.errors import UnknownName as UnknownName
    from harness.errors import UnknownVersion as UnknownVersion
    from harness.errors import UsageError as UsageError
    from harness.errors import near as near
    from harness.hookspecs import Entry as Entry
    from harness.hookspecs import hookimpl as hookimpl
    from harness.images import decode as decode
    from harness.live import LiveEvaluation as LiveEvaluation
    from harness.notebook import LoadedRun as LoadedRun
    from harness.notebook import load_run as load_run
    from harness.plan import Task as Task
    from harness.privacy import Privacy as Privacy
    from harness.protocols import Batch as Batch
    from harness.protocols import Benchmark as Benchmark
    from harness.protocols import BenchmarkInfo as BenchmarkInfo
    from harness.protocols import Check as Check
    from harness.protocols import CheckpointStore as CheckpointStore
    from harness.protocols import CheckResult as CheckResult
    from harness.protocols import Engine as Engine
    from harness.protocols import LivePlugin as LivePlugin
    from harness.protocols import LoadedModel as LoadedModel
    from harness.protocols import Metric as Metric
    from harness.protocols import MetricInfo as MetricInfo
    from harness.protocols import ModelPlugin as ModelPlugin
    from harness.protocols import ModelSpec as ModelSpec
    from harness.protocols import Outbox as Outbox
    from harness.protocols import Preparer as Preparer
    from harness.protocols import RemoteStore as RemoteStore
    from harness.protocols import Resolved as Resolved
    from harness.protocols import ResultsReader as ResultsReader
    from harness.protocols import Sink as Sink
    from harness.protocols import Told as Told
    from harness.protocols import Tracker as Tracker
    from harness.publication import LATEST as LATEST
    from harness.publication import check_alias as check_alias
    from harness.publication import check_publication as check_publication
    from harness.publication import moved_meanwhile as moved_meanwhile
    from harness.publication import numbered as numbered
    from harness.publication import other_type as other_type
    from harness.publication import still_named as still_named
    from harness.session import Listener as Listener
    from harness.session import Options as Options
    from harness.session import Session as Session
    from harness.session import open_session as open_session
    from harness.tracking import Drawing as Drawing
    from harness.tracking import FinishedRun as FinishedRun
    from harness.tracking import TrackedSample as TrackedSample
    from harness.trainings import Training as Training
    from harness.trainings import TrainingStore as TrainingStore
    from harness.types import AliasMove as AliasMove
    from harness.types import DataSource as DataSource
    from harness.types import Failure as Failure
    from harness.types import FileImage as FileImage
    from harness.types import Generation as Generation
    from harness.types import ImageRef as ImageRef
    from harness.types import Json as Json
    from harness.types import Measured as Measured
    from harness.types import Output as Output
    from harness.types import Pair as Pair
    from harness.types import Prediction as Prediction
    from harness.types import Request as Request
    from harness.types import Sample as Sample
    from harness.types import Score as Score
    from harness.types import Trace as Trace
    from harness.types import Usage as Usage
    from harness.types import Version as Version
    from harness.work import Work as Work
    from harness.work import WorkItem as WorkItem
    from harness.work import WorkStore as WorkStore

_HOMES = {
    "checkouts": ["folder_reference"],
    "config": ["read_yaml"],
    "digests": ["digest_directory", "file_digest", "file_sha256", "FileDigest", "list_files", "manifest_digest"],
    "environment": ["holds_token", "names_secret"],
    "errors": [
        "CheckpointError",
        "ConfigError",
        "DataError",
        "GateFailed",
        "HarnessError",
        "ImageError",
        "Incomplete",
        "IntegrityError",
        "LostClaim",
        "MissingExtra",
        "PluginError",
        "StoreError",
        "UnknownName",
        "UnknownVersion",
        "UsageError",
        "near",
    ],
    "hookspecs": ["Entry", "hookimpl"],
    "images": ["decode"],
    "live": ["LiveEvaluation"],
    "notebook": ["LoadedRun", "load_run"],
    "plan": ["Task"],
    "privacy": ["Privacy"],
    "protocols": [
        "Batch",
        "Benchmark",
        "BenchmarkInfo",
        "Check",
        "CheckResult",
        "CheckpointStore",
        "Engine",
        "LivePlugin",
        "LoadedModel",
        "Metric",
        "MetricInfo",
        "ModelPlugin",
        "ModelSpec",
        "Outbox",
        "Preparer",
        "RemoteStore",
        "Resolved",
        "ResultsReader",
        "Sink",
        "Told",
        "Tracker",
    ],
    "publication": [
        "check_alias",
        "check_publication",
        "LATEST",
        "moved_meanwhile",
        "numbered",
        "other_type",
        "still_named",
    ],
    "session": ["Listener", "Options", "Session", "open_session"],
    "tracking": ["Drawing", "FinishedRun", "TrackedSample"],
    "trainings": ["Training", "TrainingStore"],
    "types": [
        "AliasMove",
        "DataSource",
        "Failure",
        "FileImage",
        "Generation",
        "ImageRef",
        "Json",
        "Measured",
        "Output",
        "Pair",
        "Prediction",
        "Request",
        "Sample",
        "Score",
        "Trace",
        "Usage",
        "Version",
    ],
    "work": ["Work", "WorkItem", "WorkStore"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.{home}"), name)


def __dir__() -> list[str]:
    return __all__
