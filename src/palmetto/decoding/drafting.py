"""Says what guesses the tokens of a trained model: nothing, a look-up in the text, or a smaller run."""

from palmetto.decoding.drafts import Draft, Lookup
from palmetto.decoding.limits import Limits
from palmetto.decoding.smaller import SmallerModel
from palmetto.decoding.trained import TrainedModel
from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.tokens.vocabulary import Vocabulary


class Drafting:
    """Makes a draft for each engine."""

    def __init__(self, run: RunDirectory | None = None, lookup: bool = False) -> None:
        """Loads the newest checkpoint of a smaller run, if one is given; raises UserError for both ways at once."""
        if run is not None and lookup:
            raise UserError("--draft, --lookup: give one of them")
        self._run, self._lookup = run, lookup
        self._smaller = None if run is None else TrainedModel(run)

    def draft(self, vocabulary: Vocabulary, limits: Limits) -> Draft | None:
        """Returns what guesses tokens of a vocabulary for an engine with these limits.

        Raises UserError if the smaller run has another vocabulary, or if its cache does not fit.
        """
        if self._smaller is None:
            return Lookup() if self._lookup else None
        if self._smaller.vocabulary.digest != vocabulary.digest:
            assert self._run is not None
            raise UserError(f"--draft {self._run.path}: another vocabulary than the model's; expected the same")
        return SmallerModel(self._smaller.engine(limits))
