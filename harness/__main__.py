"""`harness`, and `python -m harness`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        from harness.cli import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "harness":
            raise
        print(f"error: {error.name!r} is not installed: run `make install` in the checkout", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[1:], last=True))


if __name__ == "__main__":
    main()
