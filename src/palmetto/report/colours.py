"""The report's colours on light and on dark paper, which colour-blind readers can distinguish too.

Figures are drawn in the light colours; in the page, each is a CSS variable of the same name.
"""

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f6f7f8",
    "grid": "#e1e5e9",
    "muted": "#5b6570",
    "ink": "#1a1f24",
    "train": "#0a5fa5",
    "validation": "#b4430a",
    "rollback": "#9c3a86",
    "green": "#1d7a46",
    "ochre": "#866200",
    "teal": "#00778a",
    "red": "#c1203a",
    "indigo": "#4d4fb8",
}

DARK = {
    "paper": "#14171a",
    "panel": "#1c2125",
    "grid": "#2e353b",
    "muted": "#9aa5b0",
    "ink": "#e7eaed",
    "train": "#62b0ee",
    "validation": "#f39350",
    "rollback": "#dc8fcb",
    "green": "#5cc58c",
    "ochre": "#d6b13c",
    "teal": "#4fc4d6",
    "red": "#ff8590",
    "indigo": "#a5a7ff",
}

CHOICES = ["train", "validation", "rollback", "green", "ochre", "teal", "red", "indigo"]
"""The colours of compared things, in order; they repeat from the ninth on."""


def of_choice(number: int) -> str:
    """Returns the light colour of a compared thing, counted from 0."""
    return LIGHT[CHOICES[number % len(CHOICES)]]
