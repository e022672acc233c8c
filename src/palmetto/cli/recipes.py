"""`palmetto recipes`."""

from palmetto.cli.common import Json, answer


def recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from palmetto.recipe import loading

    names = loading.names()
    answer(names, "\n".join(f"{name:16}{loading.describe(name)}" for name in names), as_json)
