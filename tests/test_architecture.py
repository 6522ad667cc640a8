"""The arrows of the house, and what each room must not know."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from tests_support import ROOT

OURS = ("harness", "plugins", "arr_coc_model", "training")
HEAVY = ("torch", "transformers", "datasets", "wandb", "ray", "matplotlib", "pandas", "evaluate", "pycocoevalcap")
# What each module of the host may import of it: itself and what stands below.
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "images": {"errors", "types"},
    "digests": {"errors"},
    "schema": set(),
    "stats": set(),
    "protocols": {"types", "plan", "tracking"},
    "hookspecs": set(),
    "installed": set(),
    "host": {"errors", "hookspecs", "installed"},
    "config": {"errors", "types"},
    "environment": {"host", "installed", "types"},
    "privacy": {"environment", "types"},
    "database": {"errors", "schema"},
    "encoding": {"errors", "types"},
    "metrics": {"errors", "host", "protocols", "types"},
    "plan": {"config", "encoding", "errors", "host", "metrics", "protocols", "types"},
    "store": {"database", "digests", "encoding", "errors", "plan", "schema", "scoring", "stats", "types"},
    "blobs": {"digests", "errors"},
    "checkouts": {"blobs", "digests", "errors", "protocols", "types"},
    "publication": {"errors", "types"},
    "ledger": {"digests", "errors", "publication", "types"},
    "mirroring": {"errors", "protocols", "publication", "types"},
    "checkpoints": {
        "blobs",
        "checkouts",
        "database",
        "digests",
        "errors",
        "ledger",
        "protocols",
        "publication",
        "types",
    },
    "results": {"encoding", "errors", "host", "plan", "protocols", "types"},
    "runner": {"errors", "host", "plan", "protocols", "types"},
    "live": {"errors", "plan", "protocols", "runner", "scorer", "scoring", "types"},
    "processes": set(),
    "trainings": {"database", "errors", "processes", "types"},
    "work": {"database", "errors", "processes", "types"},
    "scoring": {"errors", "host", "metrics", "plan", "protocols", "stats", "types"},
    "verdict": {"compare", "config", "difference", "errors", "scoring", "stats", "types"},
    "verdicts": {"database", "verdict"},
    "gate": {
        "compare",
        "config",
        "errors",
        "host",
        "pairing",
        "plan",
        "protocols",
        "scorer",
        "scoring",
        "stats",
        "store",
        "types",
        "verdict",
    },
    "promotion": {"plan", "config", "errors", "gate", "protocols", "types", "verdict", "verdicts"},
    "report": {
        "compare",
        "difference",
        "encoding",
        "errors",
        "images",
        "plan",
        "processes",
        "protocols",
        "scoring",
        "stats",
        "store",
        "trainings",
        "types",
        "verdict",
        "verdicts",
        "work",
    },
    "scorer": {"config", "errors", "host", "metrics", "plan", "report", "scoring", "store", "types"},
    "paired": {"stats"},
    "difference": {"paired", "protocols", "scoring", "stats", "types"},
    "pairing": {"errors", "host", "plan", "protocols", "store", "types"},
    "compare": {
        "config",
        "difference",
        "errors",
        "host",
        "metrics",
        "paired",
        "pairing",
        "plan",
        "scorer",
        "scoring",
        "stats",
        "store",
        "types",
    },
    "power": {"errors", "paired", "stats", "types"},
    "export": {"errors", "host", "plan", "report", "scorer", "stats", "store", "types"},
    "tracking": {
        "config",
        "errors",
        "export",
        "host",
        "images",
        "plan",
        "privacy",
        "protocols",
        "report",
        "scorer",
        "store",
        "types",
        "verdict",
    },
    "notebook": {"export", "report", "session", "types"},
    "view": {
        "database",
        "encoding",
        "errors",
        "host",
        "images",
        "pairing",
        "plan",
        "protocols",
        "report",
        "store",
        "types",
        "verdicts",
    },
}


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """The modules that a file imports, with the names it takes from them; by default also those inside functions."""
    found: set[str] = set()
    package = path.relative_to(ROOT).parent.parts

    def visit(node: ast.AST) -> None:
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            found.update({f"{module}.{alias.name}" for alias in node.names})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def rooms(path: Path, **options: bool) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, **options)}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("harness", {"plugins", "arr_coc_model", "training", *HEAVY}),
        ("arr_coc_model", {"harness", "plugins", "training"}),
        ("training", {"plugins"}),
        ("plugins", {"training"}),
    ],
)
def test_no_arrow_points_the_wrong_way(package: str, forbidden: set[str]) -> None:
    for path in modules(package):
        assert not rooms(path) & forbidden, path.relative_to(ROOT)


def test_only_its_own_plugin_knows_the_model() -> None:
    knowing = {path.relative_to(ROOT).as_posix() for path in modules("plugins") if "arr_coc_model" in rooms(path)}
    assert knowing <= {"plugins/models/arr_coc.py"}


@pytest.mark.parametrize("package", ["plugins", "training"])
def test_the_promised_api_is_all_that_is_used_of_the_host(package: str) -> None:
    import harness

    for path in modules(package):
        for name in imports(path):
            if name.partition(".")[0] == "harness":
                assert name.count(".") == 1, f"{path.relative_to(ROOT)} imports {name}"
                assert name.partition(".")[2] in harness.__all__, f"{path.relative_to(ROOT)} imports {name}"


def test_the_host_is_built_in_storeys() -> None:
    for path in modules("harness"):
        parts = path.relative_to(ROOT / "harness").with_suffix("").parts
        room = parts[0]
        if room in ("cli", "session", "testing", "__init__", "__main__"):
            continue
        used = {name.split(".")[1] for name in imports(path) if name.startswith("harness.")} - {room}
        assert used <= BELOW[room], f"{room} imports {sorted(used - BELOW[room])}"


def test_only_the_command_line_prints_or_exits() -> None:
    for path in modules("harness"):
        if path.relative_to(ROOT).parts[1] in ("cli", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "exit", "sys.exit", "os._exit"), path


def test_the_host_knows_no_plugins_names() -> None:
    from harness.host import build_catalog

    points = [
        point for point in metadata.entry_points(group="harness") if point.dist and point.dist.name == "vlm-harness"
    ]
    catalog = build_catalog(points)
    names = {name for kind in ("model", "benchmark", "metric") for name in catalog.all(kind)}
    scores = {score for listing in catalog.all("metric").values() for score in listing.entry.provides}
    # Words of the host's own: tokens, and the fraction of them that is kept, are what `Usage` counts; and plain words
    # that some score has for a name.
    own = {"tokens", "compression", "kept_fraction", "visual_tokens", "prompt_tokens", "generated_tokens"}
    own |= {"binary", "distribution", "evaluate", "latency", "open", "samples_per_second"}
    assert {"arr-coc", "gqa", "vqa_accuracy", "cider", "accuracy"} <= names | scores
    pattern = re.compile(
        rf"(?<![\w-])({'|'.join(map(re.escape, sorted((names | scores) - own)))})(?![\w-])", re.IGNORECASE
    )
    for path in modules("harness"):
        found = pattern.findall(path.read_text())
        assert not found, f"{path.relative_to(ROOT)} names {sorted(set(found))}"


def fresh(code: str) -> str:
    """What a new interpreter prints, warnings being errors."""
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_host_and_all_hooks_import_nothing_heavy() -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules("harness")]
    hooks = [f"plugins.{folder.name}" for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").exists()]
    chosen = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")] + hooks
    code = f"import importlib, sys\nfor name in {chosen!r}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = {name.partition(".")[0] for name in fresh(code).split()}
    assert not loaded & set(HEAVY)


def test_help_and_list_load_little() -> None:
    code = (
        "import sys\nfrom harness.cli import run\n"
        "for arguments in (['--help'], ['list'], ['list', 'plugins']): run(arguments)\n"
        "print('LOADED', *sys.modules)"
    )
    loaded = {name.partition(".")[0] for name in fresh(code).partition("LOADED")[2].split()}
    assert not loaded & {*HEAVY, "numpy", "pydantic", "scipy", "PIL"}


def test_every_module_says_what_it_is() -> None:
    for package in OURS:
        for path in modules(package):
            assert ast.get_docstring(ast.parse(path.read_text())), path.relative_to(ROOT)


def test_the_promised_api_is_what_type_checkers_see() -> None:
    import harness

    path = ROOT / "harness" / "__init__.py"
    declared = {name.rpartition(".")[2] for name in imports(path) if name.startswith("harness.")}
    assert declared == set(harness.__all__)
    for name in harness.__all__:
        getattr(harness, name)
    assert harness.__all__ == sorted(harness.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        harness.no_such_name  # noqa: B018
