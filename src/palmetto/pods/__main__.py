"""The process of one pod. Its order, JSON on a line, comes by standard input."""

import json
import os
import signal
import sys

from palmetto.host import environment, signals, streams


def main() -> None:
    """Works for the client that started it, as long as that lives."""
    streams.settle()
    for number in signals.STOPPING:
        signal.signal(number, signal.SIG_IGN)  # for the client, which finishes its step and then ends the pods
    order = json.loads(sys.stdin.readline())
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    environment.prepare(order["threads"], order["environment"], order["devices"])
    from palmetto.pods.worker import Worker

    Worker(order).run()


if __name__ == "__main__":
    main()
