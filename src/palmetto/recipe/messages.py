"""The one-line message for an invalid recipe, with the nearest valid key or value."""

import difflib
import re
import reprlib
from typing import get_args

from pydantic_core import ErrorDetails

from palmetto.errors import nearest
from palmetto.recipe.kinds import Kind
from palmetto.recipe.objectives import Objective
from palmetto.recipe.optimizers import Optimizer
from palmetto.recipe.parts import Attention, Positions
from palmetto.recipe.recipe import Recipe
from palmetto.recipe.section import PaddedNumber, Section
from palmetto.recipe.training import Schedule

_UNIONS = {"objective": Objective, "schedule": Schedule}
_KINDS: dict[str, type[Kind]] = {"attention": Attention, "optimizer": Optimizer, "positions": Positions}


def _choices() -> dict[str, dict[str, type[Section]]]:
    """Returns, for each section that comes in kinds, the kinds by name, the usual one first."""
    choices: dict[str, dict[str, type[Section]]] = {section: dict(kind.kinds()) for section, kind in _KINDS.items()}
    for section, kinds in _UNIONS.items():
        choices[section] = {kind.model_fields["name"].default: kind for kind in get_args(kinds)}
    return choices


_OTHER_NAMES = {
    "rope": "rotary",
    "absolute": "learned",
    "relative": "t5",
    "sliding_window": "local",
    "ul2": "mixture",
    "wsd": "constant",
}
"""Other programs' names of the kinds of a section, for those that are not spelt alike."""


_OTHER_KEYS = {
    "model.layers": "n_layer n_layers num_layers num_hidden_layers",
    "model.d_model": "hidden_size n_embd width",
    "model.heads": "n_head n_heads num_heads num_attention_heads",
    "model.key_value_heads": "n_kv_heads num_key_value_heads num_kv_heads",
    "model.head_size": "head_dim",
    "model.d_ff": "ffn_hidden_size intermediate_size",
    "model.experts.count": "n_experts num_experts num_local_experts",
    "model.experts.top": "num_experts_per_tok top_k",
    "tokens.sequence_length": "block_size context_length max_seq_len max_sequence_length seq_len seq_length",
    "tokens.vocabulary_size": "n_vocab vocab_size",
    "training.steps": "max_steps num_steps total_steps",
    "training.batch_size": "global_batch_size train_batch_size",
    "training.micro_batch": "micro_batch_size per_device_batch_size",
    "training.schedule.peak": "learning_rate lr max_lr",
    "training.schedule.warmup": "warmup_steps",
    "training.schedule.cooldown.share": "cooldown_fraction cooldown_frac decay_fraction",
    "training.clip": "clip_grad grad_clip gradient_clipping max_grad_norm",
}
"""Other programs' names of our keys."""


def explain(error: ErrorDetails) -> str:
    """Returns one line that says what is wrong, what was expected and what the nearest valid key or value is."""
    if error["type"] == "value_error":  # our own validators write the whole message
        return str(error["ctx"]["error"])
    path, kind = [str(part) for part in error["loc"]], None
    if len(path) > 3 and path[1] in _choices():  # training.optimizer.adamw.b3: the path includes the chosen kind
        kind = path.pop(2)
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key{f' of {kind}' if kind else ''}{_owners(path) or _nearest_key(path, kind)}"
    if error["type"] == "missing":
        return f"{key}: missing; a recipe must give it"
    if error["type"] == "union_tag_invalid":
        given, offered = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        usual = _OTHER_NAMES.get(given, given)
        return f"{key}.name={given!r}: expected one of {offered}{nearest(usual, re.findall(r'[a-z0-9_]+', offered))}"
    if error["type"] == "model_attributes_type" and path[-1] in _choices():
        name = _OTHER_NAMES.get(str(error["input"]), str(error["input"]))
        kinds = _choices()[path[-1]]
        usual = name if name in kinds else next(iter(kinds))
        return f"{key}={_shown(error['input'])}: a section, as in {key}.name={usual}"
    if error["type"] == "model_type":
        section = next(s for s in Section.__subclasses__() if s.__name__ == error["ctx"]["class_name"])
        return f"{key}={_shown(error['input'])}: a section, with the keys {', '.join(section.model_fields)}"
    message = error["msg"]
    return f"{key}={_shown(error['input'])}: {message[:1].lower()}{message[1:]}{_quoting_hint(error)}"


def _quoting_hint(error: ErrorDetails) -> str:
    """Returns how to quote a value that YAML reads as a number or boolean where text is expected."""
    value = error["input"]
    if error["type"] != "string_type" or not isinstance(value, bool | int | float):
        return ""
    text = value.text if isinstance(value, PaddedNumber) else str(value).lower()
    *_, name = (part for part in error["loc"] if isinstance(part, str))
    return f"; to have it as text, quote it, as in {name}: '{text}'"


def _shown(value: object) -> str:
    """Returns a value as text for a message, with long and deeply nested values cut short."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, 200, 200, 200
    short.maxlist = short.maxtuple = short.maxdict = 12
    return short.repr(value)


def _owners(path: list[str]) -> str:
    """Returns which kinds of the section have this key, or an empty string if none has it."""
    *section, key = path
    choices = _choices().get(section[-1], {}) if section else {}
    owners = [name for name, kind in choices.items() if key in kind.model_fields]
    return f"; with {'.'.join(section)}.name={' or '.join(owners)} there is one" if owners else ""


def _nearest_key(path: list[str], kind: str | None) -> str:
    """Returns the hint for an unknown key: the key that other programs call so, else the key of the nearest name in the
    section or in the recipe, else all keys of the section."""
    *section, name = path
    known = known_keys(Recipe, kind)
    parts = [part for part in section if not part.isdigit()]  # as in denoisers.0
    if parts[:3] == ["corpus", "build", "sources"]:
        del parts[3:]  # the source's name, which the user chooses
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == ".".join(parts)}
    names = [k.rpartition(".")[2] for k in known]
    near = (
        difflib.get_close_matches(name, siblings, 1, 0.8)
        or [k for k in names if k == name]
        or difflib.get_close_matches(name, siblings, 1, 0.5)
        or difflib.get_close_matches(name, names, 1, 0.75)
    )
    meant = [key for key, others in _OTHER_KEYS.items() if name in others.split()]
    meant += [".".join([*section, near[0]]) if near[0] in siblings else known[names.index(near[0])]] if near else []
    if meant:
        return f" (did you mean {meant[0]!r}?)"
    return f"; known keys{' of ' * bool(section)}{'.'.join(section)}: {', '.join(siblings)}"


def known_keys(section: type[Section], kind: str | None, prefix: str = "") -> list[str]:
    """Returns the dotted keys of a section. A section with a choice has the keys of `kind` if it offers that, else the
    keys of all its kinds."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(f"{prefix}{name}")
        choices = _choices().get(name, {})
        # An optional section is a union and a list of sections a tuple: get_args returns the section types.
        kinds = (
            [choices[kind]] if kind in choices else [*choices.values(), field.annotation, *get_args(field.annotation)]
        )
        for inner in kinds:
            if isinstance(inner, type) and issubclass(inner, Section):
                keys += [k for k in known_keys(inner, kind, f"{prefix}{name}.") if k not in keys]
    return keys
