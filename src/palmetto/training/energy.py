"""The energy of a run: written while it trains, and summed up with what its generation emits.

Each line of energy.jsonl is a stretch of a training process, with all that it does: steps, compiling, validations,
checkpoints, and attempts that were rolled back. Where the machine counts its energy, the line has the joules.
"""

import time
from typing import Any

from palmetto.host import power
from palmetto.host.power import Meters
from palmetto.json_lines import JsonLines
from palmetto.recipe import Recipe
from palmetto.recipe.energy import Energy
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import EnergyUse, read_energy, read_metrics

_SECONDS = 60.0
"""The time between readings, in which no processor's counter begins again twice."""


class Account:
    """Writes what this process uses."""

    def __init__(self, run: RunDirectory, meters: Meters | None) -> None:
        self._lines, self._meters = JsonLines(run.energy), meters
        self._last = time.monotonic()

    def note(self) -> None:
        """Writes a line if the last one is a minute old."""
        if time.monotonic() - self._last >= _SECONDS:
            self.settle()

    def settle(self) -> None:
        """Writes what was used since the last line."""
        now = time.monotonic()
        line: dict[str, Any] = {"seconds": round(now - self._last, 3)}
        if self._meters is not None and (joules := self._meters.joules()) is not None:
            line |= {"joules": round(joules, 3), "meters": self._meters.kinds}
        self._lines.append(line)
        self._last = now


def open_account(run: RunDirectory, meters: Meters | None) -> Account:
    """Returns the account of this process; a run from before there were accounts gets a line for its steps so far."""
    if not run.energy.exists() and (earlier := sum(line["seconds"] for line in read_metrics(run.metrics))):
        JsonLines(run.energy).append({"seconds": round(earlier, 3)})
    return Account(run, meters)


def of_run(run: RunDirectory, recipe: Recipe, here: dict[str, Any]) -> EnergyUse:
    """Returns what a run has used so far; stretches without a reading are estimated.

    here: the record of this environment, as the result of `host.environment.record`.
    """
    chips, published = drawn(recipe, here["platform"], here["device"], here["cores"])
    watts, source = recipe_watts(recipe.energy, published)
    lines = read_energy(run.energy)
    seconds = sum(line["seconds"] for line in lines)
    read = [joules for line in lines if (joules := line.get("joules")) is not None]
    guessed = sum(line["seconds"] for line in lines if line.get("joules") is None)
    kinds = " and ".join(dict.fromkeys(line["meters"] for line in lines if "meters" in line))
    if not guessed and read:
        return use(recipe.energy, chips, seconds, sum(read), f"measured by {kinds}")
    if watts is None:
        return use(recipe.energy, chips, seconds, None, f"not known: {source}")
    joules = sum(read) + guessed * chips * watts
    how = f"estimated from {source}"
    return use(recipe.energy, chips, seconds, joules, f"partly measured by {kinds}, else {how}" if read else how)


def drawn(recipe: Recipe, platform: str, device: str, cores: int | None) -> tuple[int, tuple[float, str] | None]:
    """Returns how many chips a recipe computes with on some devices, and the published power of one with its source.

    The devices of a CPU are virtual: together they are one processor, of which no more cores compute than XLA's pool
    has threads.
    """
    chips = 1 if platform == "cpu" else recipe.mesh.devices
    return chips, power.watts_of("cpu" if platform == "cpu" else device, min(cores or 1, recipe.training.threads))


def recipe_watts(energy: Energy, published: tuple[float, str] | None) -> tuple[float | None, str]:
    """Returns the power of a chip, the recipe's or the published one, and where the figure is from."""
    if energy.watts is not None:
        return energy.watts, f"energy.watts={energy.watts:g}" + (f" ({energy.source})" if energy.source else "")
    return published or (None, "no power of this chip is published; energy.watts would give one")


def use(energy: Energy, chips: int, seconds: float | None, joules: float | None, how: str) -> EnergyUse:
    """Returns a use of energy as plain values; `how` says how the joules were found."""
    kwh, kg = energy.footprint(joules) if joules is not None else (None, None)
    return {
        "kwh": kwh,
        "kg_co2e": kg,
        "hours": None if seconds is None else seconds / 3600,
        "chips": chips,
        "watts": joules / seconds / chips if joules is not None and seconds else None,
        "pue": energy.pue,
        "intensity": energy.intensity,
        "source": energy.source,
        "how": how,
    }


def describe(used: EnergyUse) -> list[str]:
    """Returns a use of energy in words, as parts of a list."""
    if used["hours"] is None:
        return [used["how"]]
    if used["kwh"] is None or used["kg_co2e"] is None:
        return [f"{used['hours']:,.4g} h", used["how"]]
    return [
        f"{used['kwh']:,.4g} kWh",
        f"{used['kg_co2e']:,.4g} kg CO2e",
        f"{used['hours']:,.4g} h of {used['chips']:,} chip{'s' * (used['chips'] > 1)}",
        used["how"],
        f"PUE {used['pue']:g}",
        f"{used['intensity']:g} kg a kWh",
    ]
