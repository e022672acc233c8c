"""Sections that come in several kinds, told apart by their name; other packages may add kinds."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Generic, TypeVar, Union

from pydantic import Field, TypeAdapter

from palmetto.recipe.section import Section

S = TypeVar("S", bound=Section)


class Kinds(Mapping[str, type[S]], Generic[S]):
    """The kinds of a section by name, the usual one first. Each has a field `name`, a Literal with its own default."""

    def __init__(self, *kinds: type[S]) -> None:
        self._kinds: dict[str, type[S]] = {}
        for kind in kinds:
            self.register(kind)

    def register(self, kind: type[S]) -> None:
        """Adds a kind, or puts it in the place of the one that has its name."""
        self._kinds[kind.model_fields["name"].default] = kind
        kinds = tuple(self._kinds.values())
        choice = Annotated[Union[kinds], Field(discriminator="name")] if len(kinds) > 1 else kinds[0]  # noqa: UP007
        self._adapter: TypeAdapter[S] = TypeAdapter(choice)

    def choose(self, value: Any) -> S:
        """Returns a value as the section of the kind that it names; ValidationError where it is none."""
        return self._adapter.validate_python(value)

    def __getitem__(self, name: str) -> type[S]:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)
