"""The report's colours, on light and on dark paper, told apart by colour-blind readers too.

Figures are drawn in the light ones; in the page each is a CSS variable of the same name.
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
}
