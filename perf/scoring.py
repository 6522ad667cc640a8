"""Scoring, against the official scorers in the same run: seconds, memory and ratios.

    python perf/scoring.py vqa        VQA accuracy of 214,354 answers, against the challenge's own script
    python perf/scoring.py captions   CIDEr-D, BLEU and ROUGE-L of 40,504 captions, against pycocoevalcap
    python perf/scoring.py linear     VQA accuracy of 10,000 to 1,000,000 answers
    python perf/scoring.py intervals  1,000 resamples of 5,000 captions' scores

Every contestant is a process of its own, in turn, so that a drift of the machine meets all alike. Nothing is printed
before both gave the same score. Run on a quiet machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "https://github.com/GT-Vision-Lab/VQA"
HARNESS = str(Path(sys.executable).with_name("harness"))
ME = [sys.executable, str(Path(__file__).resolve())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--reference", type=Path, default=ROOT.parent / "shared" / "data", help="the reference data")
    parser.add_argument("--official", type=Path, help=f"a checkout of {SCRIPT}; cloned where none is named")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant; medians are printed")
    chosen = parser.parse_args()
    if not chosen.reference.is_dir():
        parser.error(f"no reference data at {chosen.reference}; name its folder with --reference")
    with tempfile.TemporaryDirectory() as scratch:
        MEASUREMENTS[chosen.what](chosen, Path(scratch))


def vqa(chosen: argparse.Namespace, scratch: Path) -> None:
    """Evaluation alone, and whole processes from files to score. Neither keeps answers to meet them again."""
    data = unpacked(chosen.reference / "vqa_214k", scratch / "data", "annotations", "questions", "results")
    script = chosen.official or cloned(scratch)
    files = [str(data / f"{name}.json") for name in ("annotations", "questions", "results")]
    runs: dict[str, list[Mapping[str, float]]] = {"official": [], "ours": []}
    whole: dict[str, list[Mapping[str, float]]] = {"official": [], "ours": []}
    for number in range(chosen.runs):
        official = timed([*ME, "_official_vqa", str(script), *files])
        whole["official"].append(official)
        runs["official"].append(official)
        runs["ours"].append(timed([*ME, "_our_vqa", str(data)]))
        whole["ours"].append(harness(scratch / f"home{number}", "vqav2", data / "results.json", data, "accuracy"))
    agree("overall accuracy, rounded as the script does", [*runs.values(), *whole.values()], digits=4)
    table("VQA accuracy, 214,354 questions: evaluation of what is in memory", runs, "evaluate_s")
    table("VQA accuracy, 214,354 questions: whole process, from files to score", whole, "process_s", "process_mb")


def captions(chosen: argparse.Namespace, scratch: Path) -> None:
    """Tokenization and three scorers, and whole processes from files to score."""
    scratch.joinpath("data").mkdir()
    truth = plain(
        chosen.reference / "captions" / "captions_val2014.json.gz", scratch / "data" / "captions_val2014.json"
    )
    said = plain(chosen.reference / "captions" / "val2014_results_fifth_human.json.gz", scratch / "data" / "said.json")
    runs: dict[str, list[Mapping[str, float]]] = {"pycocoevalcap": [], "ours": []}
    whole: dict[str, list[Mapping[str, float]]] = {"pycocoevalcap": [], "ours": []}
    for number in range(chosen.runs):
        official = timed([*ME, "_official_captions", str(truth), str(said)])
        runs["pycocoevalcap"].append(official)
        whole["pycocoevalcap"].append(official)
        runs["ours"].append(timed([*ME, "_our_captions", str(truth.parent), str(said)]))
        metrics = ("cider", "bleu", "rouge_l")
        whole["ours"].append(harness(scratch / f"home{number}", "coco_captions", said, truth.parent, *metrics))
    agree("CIDEr", [*runs.values(), *whole.values()], digits=9)
    table("CIDEr-D, BLEU, ROUGE-L with tokenization, 40,504 images, 5 references", runs, "evaluate_s")
    table(
        "the same: whole process, from files to score (ours with intervals, and stored)",
        whole,
        "process_s",
        "process_mb",
    )


def linear(chosen: argparse.Namespace, scratch: Path) -> None:
    """The same real answers, repeated under new ids."""
    source = unpacked(chosen.reference / "vqa_214k", scratch / "source", "annotations", "questions", "results")
    runs: dict[str, list[Mapping[str, float]]] = {}
    for size in (10_000, 100_000, 1_000_000):
        data = repeated(source, scratch / str(size), size)
        name = f"{size:,}"
        runs[name] = [timed([*ME, "_our_vqa", str(data)]) for _ in range(chosen.runs)]
        shutil.rmtree(data)
    print("VQA accuracy: evaluation of what is in memory")
    print(f"{'questions':>12} {'s':>8} {'µs a question':>14}")
    for name, results in runs.items():
        seconds = statistics.median(result["evaluate_s"] for result in results)
        print(f"{name:>12} {seconds:>8.2f} {1e6 * seconds / int(name.replace(',', '')):>14.2f}")


def intervals(chosen: argparse.Namespace, scratch: Path) -> None:
    """What uncertainty costs: a caption score each by resampling whole images."""
    folder = chosen.reference / "captions"
    scratch.joinpath("data").mkdir()
    plain(folder / "karpathy_test_gt.json.gz", scratch / "data" / "captions_val2014.json")
    runs = {"1,000 resamples": [
        timed([*ME, "_our_intervals", str(scratch / "data"), str(folder / "karpathy_test_results_magic.json")])
        for _ in range(chosen.runs)
    ]}  # fmt: skip
    table("CIDEr and BLEU-1..4 of 4,982 images, resampled by image", runs, "evaluate_s")


# What the child processes do. Each prints one JSON object: its score, and seconds of the part that is compared.


def _official_vqa(script: str, annotations: str, questions: str, results: str) -> None:
    """The challenge's own classes, their Python 2 print statements made calls; everything else as it is."""
    vqa = python_2(Path(script) / "PythonHelperTools" / "vqaTools" / "vqa.py")["VQA"]
    evaluation = python_2(Path(script) / "PythonEvaluationTools" / "vqaEvaluation" / "vqaEval.py")["VQAEval"]
    truth = vqa(annotations, questions)
    judge = evaluation(truth, truth.loadRes(results, questions), n=2)
    begin = time.perf_counter()
    judge.evaluate()
    report(judge.accuracy["overall"] / 100, time.perf_counter() - begin)


def _our_vqa(folder: str) -> None:
    from harness import DataSource, Pair
    from plugins.benchmarks.vqav2 import vqav2
    from plugins.metrics.vqa_accuracy import VqaAccuracy

    benchmark, data = vqav2(), DataSource(path=Path(folder))
    given = dict(benchmark.results([Path(folder) / "results.json"], data))
    pairs = [Pair(sample, given[sample.id].text, given[sample.id]) for sample in benchmark.samples(data)]
    begin = time.perf_counter()
    measured = VqaAccuracy().compute(pairs, "official")["accuracy"]
    report(measured.value, time.perf_counter() - begin)


def _official_captions(truth: str, said: str) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    references: dict[int, list[Any]] = {}
    for row in json.loads(Path(truth).read_bytes())["annotations"]:
        references.setdefault(row["image_id"], []).append(row)
    answers = {row["image_id"]: [row] for row in json.loads(Path(said).read_bytes())}
    begin = time.perf_counter()
    tokenizer = PTBTokenizer()
    gts, res = tokenizer.tokenize({key: references[key] for key in answers}), tokenizer.tokenize(answers)
    value, _ = Cider().compute_score(gts, res)
    Bleu(4).compute_score(gts, res, verbose=0)
    Rouge().compute_score(gts, res)
    report(value, time.perf_counter() - begin)


def _our_captions(folder: str, said: str) -> None:
    from plugins.metrics.captions import Bleu, Cider, RougeL

    pairs = caption_pairs(folder, said)
    begin = time.perf_counter()
    measured = [metric.compute(pairs, "official") for metric in (Cider(), Bleu(), RougeL())]
    report(measured[0]["cider"].value, time.perf_counter() - begin)


def _our_intervals(folder: str, said: str) -> None:
    from harness.host import build_catalog
    from harness.metrics import choose_metrics
    from harness.scoring import score

    pairs = caption_pairs(folder, said)
    metrics = choose_metrics(build_catalog(), ("cider", "bleu"), ("cider", "bleu"))
    score(pairs, metrics, "official", unmet={})  # tokenised and counted: what is left is the arithmetic
    begin = time.perf_counter()
    scored = score(pairs, metrics, "official", unmet={})
    report(scored.scores["cider"].value, time.perf_counter() - begin)


def caption_pairs(folder: str, said: str) -> list[Any]:
    from harness import DataSource, Pair
    from plugins.benchmarks.coco_captions import coco_captions

    benchmark, data = coco_captions(), DataSource(path=Path(folder))
    given = dict(benchmark.results([Path(said)], data))
    return [
        Pair(sample, given[sample.id].text, given[sample.id])
        for sample in benchmark.samples(data)
        if sample.id in given
    ]


def python_2(path: Path) -> dict[str, Any]:
    """The names of a Python 2 module whose only Python 2 are print statements and tabs mixed with spaces."""
    source = re.sub(r"^(\s*)print (.*)$", r"\1print(\2)", path.read_text().expandtabs(8), flags=re.MULTILINE)
    names: dict[str, Any] = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), names)
    return names


def report(value: float | None, seconds: float) -> None:
    print("\n" + json.dumps({"value": value, "evaluate_s": seconds}))


# The parent's part.


def timed(command: Sequence[str], home: Path | None = None) -> Mapping[str, float]:
    """A child's own figures, with the wall seconds and the peak MB of its process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({} if home is None else {"HARNESS_HOME": str(home)})}
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        printed = out.read().decode()
    document = json.loads(printed if home else printed.rstrip().rpartition("\n")[2])
    if home:
        run = document["runs"][0]
        document = {"value": next(iter(run["scores"].values()))["value"]}
    return {**document, "process_s": seconds, "process_mb": usage.ru_maxrss / 1024}


def harness(home: Path, benchmark: str, results: Path, data: Path, *metrics: str) -> Mapping[str, float]:
    chosen = [argument for metric in metrics for argument in ("--metric", metric)]
    found = timed(
        [HARNESS, "score", "--bench", benchmark, "--results", str(results), "--data", str(data), *chosen, "--json"],
        home,
    )
    shutil.rmtree(home)
    return found


def agree(what: str, runs: Sequence[Sequence[Mapping[str, float]]], digits: int) -> None:
    values = {round(result["value"], digits) for results in runs for result in results}
    if len(values) != 1:
        raise SystemExit(f"{what}: the contestants differ: {sorted(values)}")
    print(f"{what}: {values.pop()} by all of them\n")


def table(title: str, runs: Mapping[str, Sequence[Mapping[str, float]]], seconds: str, memory: str = "") -> None:
    """Medians; the ratio is to the first row."""
    print(title)
    print(f"{'':<18} {'median s':>9} {'all runs':>24} {'times faster':>13}" + f"{'peak MB':>9}" * bool(memory))
    first = statistics.median(result[seconds] for result in next(iter(runs.values())))
    for name, results in runs.items():
        median = statistics.median(result[seconds] for result in results)
        each = " ".join(f"{result[seconds]:.2f}" for result in results)
        peak = f"{max(result[memory] for result in results):>9.0f}" if memory else ""
        print(f"{name:<18} {median:>9.2f} {each:>24} {first / median:>13.1f}{peak}")
    print()


def cloned(scratch: Path) -> Path:
    target = scratch / "official"
    done = subprocess.run(["git", "clone", "--quiet", "--depth", "1", SCRIPT, str(target)], check=False)
    if done.returncode:
        raise SystemExit(f"{SCRIPT} could not be cloned; name a checkout of it with --official")
    return target


def unpacked(source: Path, target: Path, *names: str) -> Path:
    target.mkdir()
    for name in names:
        plain(source / f"{name}.json.gz", target / f"{name}.json")
    return target


def plain(source: Path, target: Path) -> Path:
    with gzip.open(source) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return target


def repeated(source: Path, target: Path, size: int) -> Path:
    """The first `size` questions of as many copies as that takes, each copy with ids of its own."""
    target.mkdir()
    for name, key in (("annotations", "annotations"), ("questions", "questions"), ("results", "")):
        document = json.loads((source / f"{name}.json").read_bytes())
        rows = document[key] if key else document

        def copies(rows: Sequence[Mapping[str, Any]] = rows) -> Iterator[Mapping[str, Any]]:
            for number in range(size):
                copy, row = divmod(number, len(rows))
                yield {**rows[row], "question_id": rows[row]["question_id"] + copy * 10**9}

        text = json.dumps(list(copies()))
        (target / f"{name}.json").write_text(json.dumps({key: 0}).replace("0", text) if key else text)
    return target


MEASUREMENTS: Mapping[str, Callable[[argparse.Namespace, Path], None]] = {
    "vqa": vqa, "captions": captions, "linear": linear, "intervals": intervals,
}  # fmt: skip
CHILDREN: Mapping[str, Callable[..., None]] = {
    child.__name__: child for child in (_official_vqa, _our_vqa, _official_captions, _our_captions, _our_intervals)
}


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
