"""Child processes that end when their parent ends."""

import os
import threading
import time


def end_with(parent: int) -> None:
    """Starts a thread that ends this process, with exit code 1, as soon as the process `parent` has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
