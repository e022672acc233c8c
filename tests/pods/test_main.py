"""Tests what a pod's process does before it works."""

import json
import subprocess
import sys

from palmetto.host import environment


def test_a_pod_with_other_products_than_its_client_ends() -> None:
    order = {"cores": None, "threads": 8, "environment": None, "devices": 1, "products": "native other"}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "palmetto.pods"],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    here = environment.products("cpu")
    assert ended.stderr.strip() == (
        f"this pod would compute with {here}, its client with native other: their bits differ"
    )
