"""Provides small vocabularies of each kind, their training text, and texts that are hard to encode."""

from palmetto.tokens.vocabulary import Kind, Vocabulary

WORDS = ("palm", "tree", "spine", "token", "store", "order", "window", "batch")
LINES = [
    "def run(self):\n\tfor i in range(10):\n        print(i, 123.5)",
    "Größe, naïve café, Эй — 日本語 😀 e\u0301",
    "   a  b   ",
    *(f"{word} {word}s the {word}ing of {word}" for word in WORDS),
]
TEXT = "\n".join(LINES * 5)
SIZES: tuple[tuple[Kind, int], ...] = (("bpe", 400), ("unigram", 330))
VOCABULARIES = {kind: Vocabulary.train([TEXT], size, kind) for kind, size in SIZES}
NASTY = [
    *("", " ", "   ", " x ", "\n", "\n\n ", "\t\t", "\r", "\r\n", "\0", "a\0b", "\x01\x7f\x85\u2028"),
    *(
        "\u2581",
        "a\u2581 \u2581b",
        "\u2585",
        "<0x41>",
        "<0x00>",
        "[eod]",
        " [eod]\n",
        "[surrogate]",
        "<unk>",
        "<s></s>",
    ),
    *(
        " ⁇ ",
        "\ufeff",
        "\ufffd",
        "\u200b",
        "é",
        "e\u0301",
        "👩‍👩‍👧‍👦",
        "\U0010ffff",
        "ﬁ Å Ａ①",
        "123.5",
        "\udc80",
        "\udcff",
    ),
    *("\ud800", "\udfff", "\udc7f", "\ud83d\ude00", "\udcc3\udca9", "é\udcc3\udca9é", "\udce2\udc96\udc81"),
    *("\udced\udca0\udc80", "\ud800\udcff \udc41", "\u2581\udcff", "x" * 300),
]
