"""Training, measured in the same run: what our trainer costs beside a bare loop, and whether it waits for data.

    python perf/training.py step       a step of the trainer with all its callbacks, against a bare torch loop
    python perf/training.py loading    share of the time in which a step waits for its batch, pictures of 640x480

Every contestant is a process of its own, in turn, so that a drift of the machine meets all alike; one thread computes.
Both make the same steps: nothing is printed before both came to the same loss. Run on a quiet machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ME = [sys.executable, "-P", str(Path(__file__).resolve())]
WARM = 5
"""Steps before those that are measured."""
STEPS = 100
WORDS = "what is the colour of this thing here and where does it stand near that small round table"
ANSWERS = ("red", "on the small table", "here", "near the round thing", "that is this")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--runs", type=int, default=3, help="of each contestant; medians are printed")
    chosen = parser.parse_args()
    MEASUREMENTS[chosen.what](chosen.runs)


def step(runs: int) -> None:
    """The same model, batch, clipping and AdamW. Seconds of a step by the clock, and of the processor."""
    results: dict[str, list[Mapping[str, float]]] = {"bare loop": [], "trainer": []}
    for _ in range(runs):
        results["bare loop"].append(child("_bare"))
        results["trainer"].append(child("_trainer"))
    losses = {round(result["loss"], 4) for found in results.values() for result in found}
    if len(losses) != 1:
        raise SystemExit(f"the contestants came to different losses: {sorted(losses)}")
    print(f"a step of a small Llava, {STEPS} steps after {WARM}, loss {losses.pop()} by both")
    print(f"{'':<12} {'ms':>8} {'all runs':>26} {'ratio':>7} {'CPU ms':>8} {'ratio':>7}")
    first = {part: median(results["bare loop"], part) for part in ("wall", "cpu")}
    for name, found in results.items():
        each = " ".join(f"{1000 * result['wall']:.1f}" for result in found)
        wall, cpu = (median(found, part) for part in ("wall", "cpu"))
        print(
            f"{name:<12} {1000 * wall:>8.1f} {each:>26} {wall / first['wall']:>7.3f}"
            f" {1000 * cpu:>8.1f} {cpu / first['cpu']:>7.3f}"
        )


def loading(runs: int) -> None:
    """Pictures are read, decoded, resized and tokenized as a training reads them."""
    results: dict[str, list[Mapping[str, float]]] = {str(workers): [] for workers in (0, 1, 2)}
    for _ in range(runs):
        for workers, found in results.items():
            found.append(child("_loading", workers))
    print(f"batches of {ROWS} pictures of 640x480, {os.cpu_count()} processor cores")
    print(f"{'workers':<12} {'waits':>8} {'all runs':>26} {'ms a step':>10} {'ms waited':>10}")
    for workers, found in results.items():
        each = " ".join(f"{100 * result['waits'] / result['wall']:.1f}%" for result in found)
        wall, waits = median(found, "wall"), median(found, "waits")
        print(f"{workers:<12} {waits / wall:>8.1%} {each:>26} {1000 * wall:>10.1f} {1000 * waits:>10.1f}")


# What the child processes do. Each prints one JSON object: seconds a step, and what it came to.


ROWS = 8
"""Of a batch."""


def _bare() -> None:
    import torch

    model, processor = small_llava()
    batch = fixed_batch(processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    clock = Clock()
    for _ in range(WARM + STEPS):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    report({"loss": loss_of(model, batch), **clock.read()})


def _trainer() -> None:
    model, processor = small_llava()
    batch = fixed_batch(processor)
    clock = trained(model, processor, lambda rows: batch, [0] * (WARM + STEPS) * ROWS)
    report({"loss": loss_of(model, batch), **clock.read()})


def _loading(workers: str) -> None:
    from training.conversations import ConversationCollator

    model, processor = small_llava()
    with tempfile.TemporaryDirectory() as folder:
        rows = photographs(Path(folder))
        clock = trained(
            model, processor, ConversationCollator(processor), rows * (WARM + STEPS), {"workers": int(workers)}
        )
    report(clock.read())


class Clock:
    """Seconds by the clock and of the processor, and those that a step waited for its batch, from step `WARM` on."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float, float]] = []
        self.waited = 0.0

    def tick(self) -> None:
        self.times.append((time.perf_counter(), time.process_time(), self.waited))

    def read(self) -> dict[str, float]:
        begin, end = self.times[WARM - 1], self.times[-1]
        wall, cpu, waits = ((last - first) / STEPS for first, last in zip(begin, end, strict=True))
        return {"wall": wall, "cpu": cpu, "waits": waits}


def trained(
    model: Any,
    processor: Any,
    collator: Callable[..., Any],
    rows: Sequence[Any],
    scale: Mapping[str, Any] = {},
) -> Clock:
    """The steps of a stage, with all that stands around them."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from harness import open_session
    from training.job import Job
    from training.loop import fit, trainer_arguments
    from training.modelling.models import finish
    from training.scale import scaled
    from training.stages.sft import SftStage

    clock = Clock()

    class Ticking(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    settings = SftStage.model_validate(
        {
            "name": "measured", "start": ".", "shares": {"made": 1}, "steps": WARM + STEPS, "batch": ROWS,
            "schedule": "constant", "learning_rate": 1e-4, "scale": scale, "save": {"every": 10**6},
            # As often as in a training of 500 steps.
            "track": {"every": 10},
        }
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as home, open_session(Path(home)) as session:
        job = Job(settings, session, {}, {})
        trainer = scaled(Trainer, settings.scale)(
            model=model,
            args=TrainingArguments(
                **trainer_arguments(settings, job.folder / "trainer"), train_sampling_strategy="sequential"
            ),
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=collator,
            processing_class=processor,
        )
        take = trainer.get_batch_samples

        def timed(batches: Iterator[Any], number: int, device: Any) -> Any:
            begin = time.perf_counter()
            taken = take(batches, number, device)
            clock.waited += time.perf_counter() - begin
            return taken

        trainer.get_batch_samples = timed  # type: ignore[method-assign]
        trainer.add_callback(Ticking())
        fit(trainer, processor, job, lambda made, folder: finish(made, processor, folder))
    return clock


def loss_of(model: Any, batch: Mapping[str, Any]) -> float:
    import torch

    with torch.no_grad():
        return float(model(**batch).loss)


def small_llava() -> tuple[Any, Any]:
    """A Llava on pictures of 224x224, from nothing; one thread."""
    import torch

    from harness import Session
    from training.modelling.building import ModelSettings, build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = ModelSettings.model_validate(
        {
            "vision": {"config": {"model_type": "clip_vision_model", "image_size": 224, "patch_size": 28, **size}},
            "language": {"config": {"model_type": "llama", **size}},
            "tokenizer": {"rare": 1},
        }
    )
    built: tuple[Any, Any] = build(settings, Session(), ([WORDS], list(ANSWERS)))
    return built


def draw(image: Any, place: int) -> Any:
    from training.lessons import Draw, Lesson, Picture

    prompt = " ".join(WORDS.split()[place % 5 : place % 5 + 12])
    answer = ANSWERS[place % len(ANSWERS)]
    return Draw(Picture(image, (Lesson("made", prompt, (answer,)),)), (prompt,), (answer,), (True,))


def fixed_batch(processor: Any) -> Any:
    from training.conversations import ConversationCollator

    with tempfile.TemporaryDirectory() as folder:
        return dict(ConversationCollator(processor)(photographs(Path(folder))))


@dataclass(frozen=True)
class Photograph:
    """A JPEG file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def read(self) -> bytes:
        return self.path.read_bytes()


def photographs(folder: Path) -> list[Any]:
    """One batch of rows about pictures of 640x480, as fine in detail as photographs are (some 100 kB each)."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    rows = []
    for place in range(ROWS):
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((640, 480))
        fine = np.asarray(coarse, dtype=np.int16) + random.integers(-12, 13, (480, 640, 3))
        encoded = io.BytesIO()
        Image.fromarray(fine.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=85)
        path = folder / f"{place}.jpg"
        path.write_bytes(encoded.getvalue())
        rows.append(draw(Photograph(path), place))
    return rows


def report(figures: Mapping[str, float]) -> None:
    print("\n" + json.dumps(figures))


# The parent's part.


def child(name: str, *arguments: str) -> Mapping[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*ME, name, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr}")
    figures: Mapping[str, float] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    return figures


def median(results: Sequence[Mapping[str, float]], part: str) -> float:
    return statistics.median(result[part] for result in results)


MEASUREMENTS: Mapping[str, Callable[[int], None]] = {"step": step, "loading": loading}
CHILDREN: Mapping[str, Callable[..., None]] = {each.__name__: each for each in (_bare, _trainer, _loading)}


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
