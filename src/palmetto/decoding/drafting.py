"""Says what guesses the tokens of a trained model: nothing, a look-up in the text, or a smaller run."""

from palmetto.decoding.drafts import Draft, Lookup
from palmetto.decoding.limits import Limits
from palmetto.decoding.smaller import SmallerModel
from palmetto.decoding.trained import TrainedModel
from palmetto.errors import UserError
from palmetto.recipe.model import Model
from palmetto.runs.directory import RunDirectory


class Drafting:
    """Makes a draft for each engine."""

    def __init__(self, run: RunDirectory | None = None, lookup: bool = False) -> None:
        """Loads the newest checkpoint of a smaller run, if one is given; raises UserError for both ways at once."""
        if run is not None and lookup:
            raise UserError("--draft, --lookup: give one of them")
        self._run, self._lookup = run, lookup
        self._smaller = None if run is None else TrainedModel(run)

    @property
    def models(self) -> list[Model]:
        """Returns the models that need a cache of their own beside the model whose tokens are guessed."""
        return [] if self._smaller is None else [self._smaller.model]

    def draft(self, trained: TrainedModel, limits: Limits) -> Draft | None:
        """Returns what guesses tokens of a model for an engine with these limits.

        Raises UserError if the smaller run does not know all tokens of the model, or if its cache does not fit.
        """
        if self._smaller is None:
            return Lookup() if self._lookup else None
        assert self._run is not None
        if self._smaller.vocabulary.digest != trained.vocabulary.digest:
            raise UserError(f"--draft {self._run.path}: another vocabulary than the model's; expected the same")
        if self._smaller.recipe.model_vocabulary < trained.recipe.model_vocabulary:
            objective = trained.recipe.training.objective.name
            raise UserError(
                f"--draft {self._run.path}: does not know all tokens that the model's objective {objective} adds; "
                f"expected a run with training.objective.name={objective} and windows as long"
            )
        return SmallerModel(self._smaller.engine(limits))
