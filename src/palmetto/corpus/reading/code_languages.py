"""The 24 programming languages that code is taken from.

PaLM (arXiv 2204.02311, section 3) restricts its GitHub files by extension to "one of 24 common programming languages,
including Java, HTML, JavaScript, Python, C, C++ …" and does not name the rest. These are the ones it names (in its
datasheet: Java, HTML, JavaScript, Python, PHP, C#, XML, C++, C) and fifteen more in common use.
"""

from pathlib import PurePosixPath

EXTENSIONS = {
    "C": (".c", ".h"),
    "C#": (".cs",),
    "C++": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
    "Dart": (".dart",),
    "Go": (".go",),
    "HTML": (".html", ".htm"),
    "Haskell": (".hs",),
    "Java": (".java",),
    "JavaScript": (".js", ".jsx", ".mjs", ".cjs"),
    "Julia": (".jl",),
    "Kotlin": (".kt", ".kts"),
    "Lua": (".lua",),
    "PHP": (".php",),
    "Perl": (".pl", ".pm"),
    "Python": (".py", ".pyi"),
    "R": (".r",),
    "Ruby": (".rb",),
    "Rust": (".rs",),
    "SQL": (".sql",),
    "Scala": (".scala",),
    "Shell": (".sh", ".bash", ".zsh"),
    "Swift": (".swift",),
    "TypeScript": (".ts", ".tsx"),
    "XML": (".xml",),
}
"""The file extensions (lower case) of each language; no extension belongs to two languages."""

_LANGUAGES = {extension: language for language, extensions in EXTENSIONS.items() for extension in extensions}


def language(path: str) -> str | None:
    """Returns the language of a file by its extension, ignoring case, or None if it is not one of the 24."""
    return _LANGUAGES.get(PurePosixPath(path).suffix.lower())
