"""`palmetto recipes`."""

from palmetto.cli.common import Json, answer


def recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from palmetto.recipe import loading

    names = loading.names()
    lines = [f"{name:16}{loading.describe(name)}" for name in names]
    lines += ["", "For `palmetto finetune --recipe`:"]
    lines += [f"{name:16}{loading.describe(name, 'finetuning')}" for name in loading.names("finetuning")]
    answer(names, "\n".join(lines), as_json)
