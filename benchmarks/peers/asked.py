"""Answers questions in turns with other programs (decode_cpu.py): one line of JSON for each line of JSON."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def answer(to: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Prints {} once ready, then answers until the input ends; other output of libraries goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(to(json.loads(line))), file=answers, flush=True)
