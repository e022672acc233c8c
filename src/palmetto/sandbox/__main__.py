"""Runs a program in the jail: `python -m palmetto.sandbox FILE`."""

import argparse
import sys
from pathlib import Path

from palmetto.errors import UserError
from palmetto.sandbox.running import MEMORY, SECONDS, run


def main() -> int:
    """Returns 0 if the program ran to its end, 1 if it did not, and 2 if it cannot be run here."""
    parser = argparse.ArgumentParser("python -m palmetto.sandbox", description="Run a Python program in the jail.")
    parser.add_argument("file", metavar="FILE", help="the program; - reads it from standard input")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="the most seconds of the processor")
    parser.add_argument("--memory", type=int, default=MEMORY // 2**20, help="the most MiB of address space")
    given = parser.parse_args()
    try:
        code = sys.stdin.read() if given.file == "-" else Path(given.file).read_text(encoding="utf-8")
        outcome = run(code, seconds=given.seconds, memory=given.memory * 2**20)
    except (UserError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(outcome.output, end="")
    if not outcome.passed:
        print(f"the program did not pass: {outcome.ending}", file=sys.stderr)
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
