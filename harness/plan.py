"""Settings and Catalog to a frozen, hashed Plan: what will run, on which model and which data."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from harness.config import Settings
from harness.encoding import DataDigest, encode_sample
from harness.errors import ConfigError, DataError, HarnessError, ImageError, PluginError, UnknownName, UsageError
from harness.host import Catalog, say
from harness.metrics import MetricChoice, choose_metrics, narrow_metrics
from harness.protocols import Benchmark, CheckpointStore, ModelPlugin, ModelSpec
from harness.types import DataSource, ImageRef, Json, Request, Sample

IMAGE_MODES = ("real", "none", "shuffled")
_OPTION = re.compile(r"[a-z][a-z0-9_]*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as the user named it, and what its plugin made of it.

    Attributes:
        text: the whole name, `PLUGIN:REF[,key=value…]`.
        image: which pictures it is shown: its own ("real"), "none", or another sample's ("shuffled").
    """

    text: str
    plugin: str
    image: str
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark with its data, prompts, scoring rules and metrics all chosen."""

    name: str
    benchmark: Benchmark
    data: DataSource
    profile: str
    protocol: str
    metrics: tuple[MetricChoice, ...]

    def samples(self) -> Iterator[Sample]:
        """All samples in the benchmark's order.

        Raises:
            DataError: the data is absent or malformed.
        """
        try:
            yield from self.benchmark.samples(self.data)
        except HarnessError:
            raise
        except Exception as error:
            raise PluginError(f"benchmark {self.name!r} failed to read {self.data}: {say(error)}") from error

    def digest(self) -> str:
        """The hash of all samples' content, pictures apart: what a run calls its data digest."""
        digest = DataDigest()
        for sample in self.samples():
            digest.add(sample, encode_sample(sample))
        return digest.hexdigest()

    def request(self, sample: Sample) -> Request:
        """What a model is shown of the sample under the chosen profile.

        Raises:
            PluginError: the benchmark cannot say.
        """
        try:
            return self.benchmark.request(sample, self.profile)
        except HarnessError:
            raise
        except Exception as error:
            raise PluginError(f"benchmark {self.name!r} cannot ask about sample {sample.id!r}: {say(error)}") from error


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run. Two plans of one `id` have the same predictions.

    Attributes:
        id: the hash of `identity`; the run's name.
        identity: everything that the predictions depend on.
        n: samples that will be asked.
        pictures: the pictures that `image=shuffled` deals out: picture name -> another sample's picture.
    """

    id: str
    model: ModelChoice
    task: Task
    identity: Mapping[str, Json]
    n: int
    batch: int
    device: str
    pictures: Mapping[str, ImageRef]

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """The samples that will be asked, with their places in the benchmark's order."""
        return enumerate(islice(self.task.samples(), self.n))

    def request(self, sample: Sample) -> Request:
        """What the model is shown: the benchmark's request, with the pictures of the model's image mode."""
        request = self.task.request(sample)
        if self.model.image == "none":
            return replace(request, images=())
        if self.model.image == "shuffled":
            return replace(request, images=tuple(self.pictures[image.name] for image in request.images))
        return request


def choose_model(text: str, catalog: Catalog, checkpoints: CheckpointStore) -> ModelChoice:
    """Read `PLUGIN:REF[,key=value…]` and let the plugin find the model; loads no weights.

    Raises:
        UsageError: the text is malformed, or an option is unknown.
        UnknownName: there is no such plugin.
        CheckpointError: there is no such checkpoint.
    """
    name, colon, rest = text.partition(":")
    if not colon or not name or not rest:
        if name in catalog.all("model"):
            raise UsageError(f"model {text!r} lacks its reference: write {name}:REF, such as {name}:latest")
        catalog.find("model", name or text)
    listing = catalog.find("model", name)
    ref, options = _options(rest, text)
    image = options.pop("image", "real")
    if image not in IMAGE_MODES:
        raise UnknownName("value of image=", image, IMAGE_MODES)
    plugin: ModelPlugin = listing.load()
    try:
        spec = plugin.resolve(ref, options, checkpoints)
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"model plugin {name!r} could not resolve {text!r}: {say(error)}") from error
    return ModelChoice(text, name, image, spec)


def model_options(text: str) -> dict[str, str]:
    """The options of a model's whole name, `PLUGIN:REF[,key=value…]`."""
    return _options(text.partition(":")[2], text)[1]


def _options(rest: str, text: str) -> tuple[str, dict[str, str]]:
    """Split `REF,key=value,…`; a comma that no `key=` follows belongs to what stands before it."""
    parts: list[str] = []
    for part in rest.split(","):
        if parts and not _OPTION.match(part):
            parts[-1] += "," + part
        else:
            parts.append(part)
    options: dict[str, str] = {}
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if key in options:
            raise UsageError(f"model {text!r}: the option {key!r} is given twice")
        options[key] = value
    return parts[0], options


def choose_task(
    name: str,
    catalog: Catalog,
    settings: Settings,
    *,
    data: DataSource | None = None,
    profile: str | None = None,
    protocol: str | None = None,
    metrics: Sequence[str] = (),
) -> Task:
    """A benchmark with everything chosen: by the arguments, else the settings, else the benchmark's defaults.

    Raises:
        UnknownName: there is no such benchmark, profile, protocol or metric.
        ConfigError: nothing says where its data lies.
    """
    benchmark: Benchmark = catalog.find("benchmark", name).load()
    info = benchmark.info
    section = settings.benchmarks.get(name)
    configured = settings.source(name)
    if data is not None and data.split is None and configured is not None:
        data = replace(data, split=configured.split)
    source = data or configured
    if source is None:
        raise ConfigError(
            f"nothing says where the data of {name!r} lies: add benchmarks.{name}.data, or give --data", settings.file
        )
    profile = profile or (section and section.profile) or info.profiles[0]
    protocol = protocol or (section and section.protocol) or info.protocols[0]
    if profile not in info.profiles:
        raise UnknownName(f"profile of {name!r}", profile, info.profiles)
    if protocol not in info.protocols:
        raise UnknownName(f"protocol of {name!r}", protocol, info.protocols)
    chosen = choose_metrics(catalog, info.metrics, section.metrics if section and section.metrics else None)
    if metrics:
        chosen = narrow_metrics(metrics, chosen, catalog, info.metrics)
    return Task(name, benchmark, source, profile, protocol, chosen)


def make_plan(
    model: ModelChoice,
    task: Task,
    *,
    limit: int | None,
    batch: int,
    seed: int,
    device: str,
    hash_image: Callable[[ImageRef], str],
) -> Plan:
    """Read the benchmark's samples once and hash all that the predictions will depend on.

    `hash_image` gives a picture's content digest and raises ImageError where it cannot; such a picture is part of
    the identity as unreadable, and will be a Failure when it is asked about.

    Raises:
        DataError: the data is absent, malformed, empty, or has an id twice.
    """
    digest, prompts, images = DataDigest(), hashlib.sha256(), hashlib.sha256()
    seen: set[str] = set()
    deck: dict[str, ImageRef] = {}
    hashes: dict[str, str] = {}
    total = 0
    for sample in task.samples():
        if sample.id in seen:
            raise DataError(f"{task.data}: the sample id {sample.id!r} occurs twice")
        seen.add(sample.id)
        digest.add(sample, encode_sample(sample))
        total += 1
        if limit is not None and total > limit:
            continue
        request = task.request(sample)
        prompts.update(msgspec.json.encode((request.prompt, request.generation)))
        if model.image == "none":
            continue
        for image in request.images:
            deck[image.name] = image
            if image.name not in hashes:
                hashes[image.name] = _hash_or_say(image, hash_image)
            images.update(hashes[image.name].encode())
    if total == 0:
        raise DataError(f"{task.data}: benchmark {task.name!r} found no samples there")
    n = total if limit is None else min(limit, total)
    identity: dict[str, Json] = {
        "model": {"plugin": model.plugin, "fingerprint": model.spec.fingerprint, "image": model.image},
        "benchmark": {"name": task.name, "version": task.benchmark.info.version, "profile": task.profile},
        "data_digest": digest.hexdigest(),
        "prompt_digest": prompts.hexdigest(),
        "image_digest": images.hexdigest() if model.image != "none" else None,
        "limit": n if n < total else None,
        "batch": batch,
        "seed": seed,
    }
    pictures = _deal(deck, seed) if model.image == "shuffled" else {}
    return Plan(run_id(identity), model, task, identity, n, batch, device, pictures)


def run_id(identity: Mapping[str, Json]) -> str:
    """The name of the run that everything in `identity` makes."""
    return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()[:12]


def _hash_or_say(image: ImageRef, hash_image: Callable[[ImageRef], str]) -> str:
    try:
        return hash_image(image)
    except ImageError:
        return "unreadable"


def _deal(deck: Mapping[str, ImageRef], seed: int) -> dict[str, ImageRef]:
    """Every picture's stand-in: a rotation of a seeded shuffle, so that none stands for itself (given two or more)."""
    names = sorted(deck)
    random.Random(seed).shuffle(names)
    return {name: deck[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}
