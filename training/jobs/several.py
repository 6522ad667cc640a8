"""Start a command as several processes that train together, and end with their exit code: `several N COMMAND...`.

torchrun does it, whose own exit code is 1 whatever theirs were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """The exit code of the process that failed first, as a shell says it."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as run

    processes, *command = arguments
    if command[0] == sys.executable:
        if "-P" in command[:2]:
            os.environ["PYTHONSAFEPATH"] = "1"  # torchrun hands no options of the interpreter on
        command = [word for place, word in enumerate(command) if place and (place, word) != (1, "-P")]
        options = ["-m", *command[1:]] if command[0] == "-m" else command
    else:
        options = ["--no-python", *command]
    try:
        run(["--standalone", "--nproc-per-node", processes, *options])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException as error:
        return 128 + signal.Signals(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
