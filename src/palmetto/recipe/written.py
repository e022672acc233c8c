"""Tells names of special tokens that a template of chats writes from those that stand in messages.

The template runs twice with the same messages. The second time each character of its own text that occurs in a name is
exchanged for a stand-in. Whatever it does to messages: where the two texts differ, it has written itself.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, SupportsIndex

from jinja2 import nodes
from jinja2.environment import Environment
from jinja2.visitor import NodeTransformer

EOD = "[eod]"
"""Templates see this as `eos_token`."""

_OWN, _JOINED, _SEEN, _IMAGE = "own text", "joined text", "text that was written before", "image of a text"
"""Filters that templates cannot use themselves, since their names have spaces."""


class Written(str):
    """A text, and its image, which has stand-ins where a template wrote it, of the same length.

    Templates compare, search and measure it as the text. The image is what `str` gives, and so what they write.
    """

    image: str

    def __new__(cls, text: str, image: str | None = None) -> "Written":
        """Takes a text and its image; without one, the text may come from messages."""
        made = super().__new__(cls, str.__str__(text))
        made.image = str(text) if image is None else image
        return made

    @staticmethod
    def joined(parts: Iterable[object]) -> "Written":
        """Returns the parts as one text."""
        texts = [part if isinstance(part, str) else str(part) for part in parts]
        return Written("".join(texts), "".join(map(str, texts)))

    def __str__(self) -> str:
        return self.image

    def __add__(self, other: str) -> "Written":
        return Written.joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> "Written":
        return Written.joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> "Written":
        return Written(super().__mul__(count), self.image * count)

    def __getitem__(self, key: SupportsIndex | slice) -> "Written":
        return Written(super().__getitem__(key), self.image[key])

    def lstrip(self, chars: str | None = None) -> "Written":
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None) -> "Written":
        return self[: len(super().rstrip(chars))]

    def strip(self, chars: str | None = None) -> "Written":
        return self.lstrip(chars).rstrip(chars)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        parts, end = list[str](), 0
        for part in super().split(sep, maxsplit):
            start = self.find(part, end) if sep is None else end + len(sep) * bool(parts)
            end = start + len(part)
            parts.append(self[start:end])
        return parts

    def join(self, parts: Iterable[str]) -> "Written":
        texts = list(parts)
        return Written(super().join(texts), self.image.join(map(str, texts)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> str:
        return Written(new).join(self.split(old, count)) if old else super().replace(old, new, count)


class Found(NamedTuple):
    """Says where a template wrote a name."""

    start: int
    end: int
    name: str | None
    """The name, or None for `eos_token`."""


class Names:
    """Exchanges characters of names for stand-ins, and finds the names that a template wrote."""

    def __init__(self, names: Sequence[str]) -> None:
        """Takes the names of the special tokens that a template may write."""
        used = sorted(set("".join(names)))
        free = (chr(code) for code in range(0x100000, 0x10FFFE) if chr(code) not in used)  # for private use
        self._images = str.maketrans(dict(zip(used, free, strict=False)))
        self.eos = Written(EOD, "".join(islice(free, len(EOD))))
        self._texts = {image: chr(code) for code, image in self._images.items()}
        self._texts |= dict(zip(self.eos.image, EOD, strict=True))
        self._stand_ins = re.compile(f"[{''.join(self._texts)}]")
        self._named = {name.translate(self._images): name for name in names} | {self.eos.image: None}
        longest_first = sorted(self._named, key=len, reverse=True)
        self._written = re.compile("|".join(map(re.escape, longest_first)))

    def own(self, text: str) -> Written:
        """Returns a text that the template writes."""
        return Written(text, text.translate(self._images))

    def seen(self, value: object) -> object:
        """Returns what a part of the template wrote, so that the rest sees the text in it."""
        return Written(self.text_of(value), value) if type(value) is str else value

    def text_of(self, image: str) -> str:
        """Returns a text without stand-ins, given its image."""
        for stand_in, letter in self._texts.items():  # faster than `translate` or `re.sub`
            image = image.replace(stand_in, letter)
        return image

    def hold(self, text: str) -> bool:
        """Returns whether there are stand-ins in a text."""
        return self._stand_ins.search(text) is not None

    def find(self, text: Written) -> Iterator[Found]:
        """Yields where the template wrote names; of those that begin alike, the longest."""
        for found in self._written.finditer(text.image):
            yield Found(found.start(), found.end(), self._named[found[0]])

    def exchanged(self, template: nodes.Template) -> nodes.Template:
        """Returns the template with its own text exchanged; its environment needs the filters of `install`."""
        exchanged: nodes.Template = _Exchange(self._images).visit(template)
        return exchanged

    def install(self, environment: Environment) -> None:
        """Adds the filters of exchanged templates to their environment."""
        environment.filters |= {
            _OWN: self.own,
            _JOINED: Written.joined,
            _SEEN: self.seen,
            _IMAGE: str,
            "replace": _replace,
        }


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    """Stands in for Jinja's filter, which would look for images."""
    whole, searched, other = (Written.joined([each]) for each in (text, old, new))
    return whole.replace(searched, other, -1 if count is None else count)


class _Exchange(NodeTransformer):
    """Exchanges the text of a template, and keeps what it makes of that together with its images."""

    def __init__(self, images: dict[int, str]) -> None:
        self._images = images

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        node.data = node.data.translate(self._images)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        return _filtered(node, _OWN, node) if isinstance(node.value, str) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno, environment=node.environment), _JOINED, node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        node.node = self.visit(node.node)
        if not isinstance(node.arg, nodes.Const):  # a key, which is no text
            node.arg = self.visit(node.arg)
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        node.node = node.node or _filtered(None, _SEEN, node)  # what the filter's block wrote
        return _filtered(node, _SEEN, node)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        return _filtered(self.generic_visit(node), _SEEN, node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node.call)  # which must stay a call
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = _filtered(node.filter, _IMAGE, node)  # it is written without `str`
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = node.filter or _filtered(None, _SEEN, node)
        return node


def _filtered(node: nodes.Node | None, name: str, at: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=at.lineno, environment=at.environment)
