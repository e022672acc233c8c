"""The entry point of a pod's process. It reads its order, one line of JSON, from standard input."""

import json
import os
import signal
import sys

from palmetto.host import environment, signals, streams


def main() -> None:
    """Prepares the environment and works until the client ends."""
    streams.settle()
    for number in signals.STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the client handles signals: it finishes its step and ends the pods
    order = json.loads(sys.stdin.readline())
    if order["cores"]:
        os.sched_setaffinity(0, order["cores"])
    environment.prepare(order["threads"], order["environment"], order["devices"])
    from palmetto.pods.worker import Worker

    Worker(order).run()


if __name__ == "__main__":
    main()
