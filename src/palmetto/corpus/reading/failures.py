"""Reports what of the sources could not be read, and stops the build if it exceeds `corpus.build.failures`."""

from collections import Counter

from palmetto.corpus.counts import Counts, Pair
from palmetto.corpus.reading.finding import Found, PassedOver, Problem
from palmetto.corpus.stage import Say
from palmetto.errors import RunStopped
from palmetto.recipe.corpus import Build

_SHOWN = 5
_Loss = tuple[int, int, str]
"""The number lost, the total, and the unit."""


def report(problems: list[Problem], passed: tuple[PassedOver, ...], frames: dict[str, Pair], say: Say) -> None:
    """Reports what could not be read, what was passed over, and the frames of books that were left out."""
    if problems:
        size = sum(problem.size for problem in problems)
        say(f"not read: {len(problems):,} files, records and parts of files, {size:,} bytes")
    for problem in problems[:_SHOWN]:
        say(f"not read: {problem.name} ({problem.reason})")
    if len(problems) > _SHOWN:
        say(f"not read: {len(problems) - _SHOWN} more, all in the manifest")
    if passed:
        reasons = Counter(each.reason for each in passed)
        listed = ", ".join(
            f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item))
        )
        some = ", ".join(each.name for each in passed[:_SHOWN])
        say(f"passed over: {len(passed):,} files and folders: {listed}; {some}{' …' if len(passed) > _SHOWN else ''}")
    if books := sum(documents for documents, _ in frames.values()):
        size = sum(size for _, size in frames.values())
        say(f"left out: Project Gutenberg's header and footer of {books:,} books, {size:,} bytes")


def check(build: Build, found: dict[str, Found], counts: Counts, problems: list[Problem]) -> None:
    """Raises RunStopped if more of a source than `failures` could not be read, or if it has no documents."""
    for name in build.sources:
        failed = [problem for problem in problems if problem.source == name]
        loss = max(_losses(found[name], counts.before.get(name, (0, 0)), failed), key=_share)
        if _share(loss) > build.failures:
            lost, of, what = loss
            first = f"{failed[0].name} ({failed[0].reason})"
            raise RunStopped(
                f"{name}: {lost:,} of {of:,}{what} could not be read, {_share(loss):.1%}, more than "
                f"corpus.build.failures={build.failures}; the first: {first}"
            )
        if not counts.after.get(name, (0, 0))[0]:
            dropped = counts.dropped.get(name, {})
            why = ", ".join(f"{reason} {count:,}" for reason, (count, _) in sorted(dropped.items()))
            raise RunStopped(
                f"{name}: no documents in {', '.join(build.sources[name].paths)}{f'; {why}' if why else ''}"
            )


def _losses(found: Found, came: Pair, failed: list[Problem]) -> list[_Loss]:
    """Returns the losses of a source in documents, in files, in bytes of files and in bytes of records."""
    sizes = {file.name: file.size or 0 for file in found.files}
    of_files = [problem for problem in failed if problem.is_file]
    in_records = sum(problem.size for problem in failed if not problem.is_file)
    whole = {problem.name for problem in of_files if problem.size >= sizes.get(problem.name, 0)}
    return [
        (len(failed), len(failed) + came[0], ""),
        (len(whole), len({*sizes, *whole}), " files"),
        (sum(problem.size for problem in of_files), sum(sizes.values()), " bytes of its files"),
        (in_records, in_records + came[1], " bytes of its records"),
    ]


def _share(loss: _Loss) -> float:
    lost, of, _ = loss
    return lost / max(1, of)
