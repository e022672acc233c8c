"""The model card of an export, README.md: data, training, evaluation and digests, from the files of the run."""

from pathlib import Path
from typing import Any

from palmetto.files import present, read_json
from palmetto.interop.source import Source
from palmetto.model.weights import active, count
from palmetto.runs.files import read_events, read_summary
from palmetto.training import energy


def card(source: Source, library: str, made: str, note: str) -> str:
    """Returns the card. `library` opens the export, `made` says what it is, and `note` how it is used."""
    recipe, model, manifest = source.recipe, source.recipe.model, source.manifest
    total, used = count(model, recipe.model_vocabulary), active(model, recipe.model_vocabulary)
    sizes = f"{model.layers} layers, width {model.d_model:,}, {model.heads} heads of {model.query_size}"
    shape = f"{total:,} parameters" if total == used else f"{total:,} parameters, {used:,} of them active"
    imported = source.run.imported
    parts = [
        f"---\nlibrary_name: {library}\npipeline_tag: text-generation\ntags:\n- palmetto\n---",
        f"# {recipe.name}",
        f"A language model {'imported into' if imported else 'trained by'} Palmetto, exported as {made}: {shape}; "
        f"{sizes}; {model.block} blocks, {model.positions.name} positions, {model.feedforward}; "
        f"{recipe.tokens.vocabulary_size:,} tokens "
        f"({recipe.tokens.vocabulary}), sequences of {recipe.model_length:,}.",
        note,
        "## Data",
        _data(source),
        "## Training",
        "Palmetto has not trained it." if imported else _training(source),
        "## Energy",
        _energy(source),
        "## Evaluation",
        _evaluation(source),
        "## Digests",
        "| what | digest |\n|---|---|\n"
        f"| parameters | `{manifest.parameters}` |\n"
        f"| recipe | `{manifest.recipe}` |\n"
        f"| tokens | {f'`{manifest.tokens}`' if manifest.tokens else 'none'} |\n"
        f"| vocabulary | `{source.vocabulary.digest}` |",
    ]
    return "\n\n".join(parts) + "\n"


def _training(source: Source) -> str:
    recipe = source.recipe
    return (
        f"{source.manifest.step:,} steps of the recipe in `palmetto/recipe.yaml`. "
        f"Objective: {recipe.training.objective.name}; optimizer: {recipe.training.optimizer.name}; "
        f"activations: {recipe.model.activations}; seed: {recipe.training.seed}."
    )


def _data(source: Source) -> str:
    begun = source.recipe.finetuning
    if begun is None:
        return _text(source)
    pieces = f", with {len(begun.pieces)} further pieces in the vocabulary" if begun.pieces else ""
    base = f"Fine-tuned from step {begun.step:,} of {Path(begun.base).name}, parameters `{begun.parameters}`{pieces}."
    if not begun.data:
        return f"{base}\n\n{_text(source)}"
    rows = [
        f"| {Path(each.path).name} | {'its size' if each.weight is None else f'{each.weight:g}'} |"
        for each in begun.data
    ]
    return "\n".join([base, "", "| examples | weight |", "|---|---|", *rows])


def _text(source: Source) -> str:
    corpus = source.recipe.corpus
    if corpus.source == "python":
        return "The text of a Python installation: its modules and documentation."
    folder = source.run.path / "corpus" if corpus.build is not None else corpus.source and Path(corpus.source)
    sheet = folder and folder / "datasheet.json"
    if not sheet or not present(sheet):
        return "The run has no datasheet of its text."
    values: dict[str, Any] = read_json(sheet)
    rows = [
        f"| {name} | {each['documents']:,} | {each['bytes']:,} | {each['tokens']:,} |"
        for name, each in values["sources"].items()
    ]
    total = ", ".join(f"{values[quantity]:,} {quantity}" for quantity in ("documents", "bytes", "tokens"))
    head = f"{total}, as the corpus's datasheet says:"
    return "\n".join([head, "", "| source | documents | bytes | tokens |", "|---|---|---|---|", *rows])


def _energy(source: Source) -> str:
    """Returns what the whole run has used, which may have gone on after the exported step."""
    summary = read_summary(source.run.summary)
    if summary is None or "energy" not in summary:
        return "The run has not recorded what it used."
    return f"{', '.join(energy.describe(summary['energy']))}; counted to step {summary['steps']:,}."


def _evaluation(source: Source) -> str:
    """Returns the validation loss of the exported step, and its scores on tasks if it has been evaluated."""
    return "\n\n".join([_validation(source), *_scores(source)])


def _scores(source: Source) -> list[str]:
    """Returns the table of the scores on tasks that evaluations in the run's directory have of this checkpoint."""
    rows = []
    for folder in (source.run.evaluation, *sorted(source.run.evaluations.glob("*"))):
        made_with, results = folder / "evaluation.json", folder / "results.json"
        if not present(made_with) or not present(results):
            continue
        settings = read_json(made_with)
        if settings["parameters"] != source.manifest.parameters or settings.get("weights") is not None:
            continue
        for name, of in read_json(results)["tasks"].items():
            low, high = of["interval"]
            rows.append(f"| {name} | {of['metric']} | {of['value']:.2f} | {low:.2f} to {high:.2f} | {of['count']:,} |")
    if not rows:
        return []
    return ["\n".join(["| task | metric | value | interval (95 %) | examples |", "|---|---|---|---|---|", *rows])]


def _validation(source: Source) -> str:
    """Returns the validation loss of the exported step, and that before the first step for comparison."""
    step, attempt = source.manifest.step, source.manifest.attempt
    losses = {
        event["step"]: event["loss"]
        for event in read_events(source.run.events)
        if event["event"] == "validation" and event["attempt"] <= attempt and event["step"] <= step
    }
    if step not in losses:
        return "The run has not measured its validation loss at this step."
    first = f"from {losses[min(losses)]:.4f} at step {min(losses):,}"
    return f"Validation loss {losses[step]:.4f} nats a token on the run's held-out text, {first}."
