"""Set-up that every test shares: XLA's thread pool and virtual devices, fixed before anything imports JAX."""

import functools
import gc
import os
import signal
import tempfile

from palmetto.host import environment
from tests.references.memory_folder import memory_folder

# Also where there is an accelerator: what it gives is not what a CPU does to the bit, and it is one device, not eight.
# JAX_PLATFORMS=cuda,cpu runs on it those tests that do with one (docs/reproducibility.md).
os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(8, devices=8)

# Compiling takes most of the tests' time, and half of it without most optimizations; see `optimized` below.
UNOPTIMIZED = "JAX_DISABLE_MOST_OPTIMIZATIONS"
if os.environ["JAX_PLATFORMS"] == "cpu":
    os.environ.setdefault(UNOPTIMIZED, "1")

# What one test compiles, those after it need not: in this process, in xdist's other workers, which have this one's
# environment, and in the commands that tests start. The folder ends with the session, so that nothing in it is older.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="palmetto-compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Whole runs would wait for the disk.
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and (folder := memory_folder()):
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)

# Under nohup, or in the background of a script, they would be ignored, in the processes that tests start too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Container, Iterable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402

from palmetto.recipe import Recipe, loading  # noqa: E402
from tests.references.quickly import QUICKLY  # noqa: E402

# A first example compiles, which takes longer than hypothesis's deadline.
hypothesis.settings.register_profile("palmetto", deadline=None)
hypothesis.settings.register_profile("hundreds", deadline=None, max_examples=100)
hypothesis.settings.load_profile("palmetto")


def quickly(make_options: Callable[..., Any]) -> Callable[..., Any]:
    """Returns JAX's own maker of compile options, which adds those of `QUICKLY` where most optimizations are off.

    That halves XLA's time once more. As flags of XLA they would hold for all of a process, optimized files included.
    """

    @functools.wraps(make_options)
    def make(*arguments: Any, **keywords: Any) -> Any:
        options = make_options(*arguments, **keywords)
        if jax.config.read("jax_disable_most_optimizations"):
            options.env_option_overrides = list((QUICKLY | dict(options.env_option_overrides)).items())
        return options

    return make


compiler.get_compile_options = quickly(compiler.get_compile_options)

RecipeMaker = Callable[..., Recipe]

TINY = """
tokens: {vocabulary_size: 300, sequence_length: 16}
model: {layers: 2, d_model: 32, heads: 2}
training: {steps: 8, batch_size: 8, micro_batch: 2}
"""


def slow_but(quick: Container[Any], cases: Iterable[Any]) -> list[Any]:
    """Returns a test's cases, those that are not in `quick` marked as slow."""
    return [
        pytest.param(*(case if type(case) is tuple else [case]), marks=[] if case in quick else pytest.mark.slow)
        for case in cases
    ]


def need_devices(count: int) -> None:
    """Skips a test where there are fewer: on an accelerator."""
    if jax.device_count() < count:
        pytest.skip(f"{count} devices are needed, where there are {jax.device_count()}")


@pytest.fixture(autouse=True, scope="module")
def optimized(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles a file that is marked so as users do: those that compare the bits of different programs are."""
    if UNOPTIMIZED not in os.environ or request.node.get_closest_marker("optimized") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(UNOPTIMIZED)
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", False)
        jax.clear_caches()
        yield
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()


def resident() -> int:
    """Returns this process's memory in bytes; 0 where the system does not say, and where it then is not bounded."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


@pytest.fixture(scope="session")
def cleared() -> list[int]:
    """Holds the memory that stayed after each time that compiled programs were dropped."""
    return [1 << 30]


@pytest.fixture(autouse=True, scope="module")
def bounded_memory(cleared: list[int]) -> Iterator[None]:
    """Drops compiled programs between files, once they take more than a small machine can spare."""
    yield
    if resident() > cleared[-1] + (1 << 29):
        jax.clear_caches()
        gc.collect()
        cleared.append(resident())


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> RecipeMaker:
    """Makes a recipe that compiles in seconds; `tiny_recipe("training.clip=null", …)` overrides keys of it."""
    file = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    file.write_text(TINY)
    return lambda *overrides: loading.load(str(file), overrides)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The workplace's data folder, beside the repository."""
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no shared data at {path}")
    return path
