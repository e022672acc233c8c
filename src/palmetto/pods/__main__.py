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
    import jax

    from palmetto.pods.worker import Worker

    if (here := environment.products(jax.default_backend())) != order["products"]:
        sys.exit(f"this pod would compute with {here}, its client with {order['products']}: their bits differ")
    Worker(order).run()


if __name__ == "__main__":
    main()
