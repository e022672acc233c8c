"""Extracts running text from HTML and from wikitext."""

import re
from typing import Any, Literal

from palmetto.corpus.extras import need
from palmetto.corpus.reading import encoding
from palmetto.errors import UserError

Markup = Literal["html", "wikitext", "none"] | None

_OPENED = re.compile(
    r"<(?!(?:area|base|br|col|dd|dt|embed|hr|img|input|li|link|meta|option|p|param|source|t[dhr]|track|wbr)\b)[a-z][^<>]*(?<!/)>",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"</[a-z]", re.IGNORECASE)
_DEPTH = 2000
"""The greatest number of open tags; the time of both parsers grows with its square."""
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([a-z0-9_:.-]+)", re.IGNORECASE)
_META_BYTES = 4096
_NOT_TEXT = (
    *("ref", "references", "gallery", "math", "chem", "table", "timeline", "score", "imagemap", "mapframe", "graph"),
    *("hiero", "source", "syntaxhighlight", "style", "templatestyles", "script"),
)
_SETTING = ("lang", "transl", "transliteration", "nowrap", "nobold", "nobr", "small", "big")
_EMPTY_REFERENCE = re.compile(r"<ref\b[^<>]*/>")
_FURNITURE = re.compile(r"__[A-Z]+__|'{2,5}")
_TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
_TEMPLATE_DEPTH = 8
_HELD = str.maketrans({"\x02": "{{", "\x03": "}}"})
_EMPTY_BRACKETS = re.compile(r" ?[（(][\s,;:–、，]*[)）]")
_BLANKS = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t]{2,}")
_TAIL = {
    *("references", "external links", "see also", "notes", "further reading", "bibliography", "sources", "footnotes"),
    *("einzelnachweise", "weblinks", "literatur", "siehe auch"),
    *("références", "liens externes", "notes et références", "voir aussi", "bibliographie"),
    *("referencias", "enlaces externos", "véase también"),
    *("note", "collegamenti esterni", "voci correlate", "bibliografia"),
    *("примечания", "ссылки", "литература", "см. также", "примітки", "посилання"),
    *("脚注", "外部リンク", "関連項目", "参考文献", "出典"),
    *("각주", "외부 링크", "같이 보기", "참고 문헌"),
    *("参考资料", "外部链接", "参见"),
}
"""Titles of sections of references and of links."""


def plain(text: str, markup: Markup) -> str:
    """Returns the running text of a text in `markup`; raises Undecodable if the parser fails."""
    if markup is None or markup == "none":
        return text
    if len(_OPENED.findall(text)) - len(_CLOSED.findall(text)) > _DEPTH:
        raise encoding.Undecodable(f"more than {_DEPTH} tags that are never closed")
    try:
        return from_html(text) if markup == "html" else from_wikitext(text)
    except UserError:
        raise
    except Exception as error:
        # A bug in a parser must cost a document, not the build.
        raise encoding.Undecodable(f"{markup} that cannot be read ({error})") from None


def from_html(html: str) -> str:
    """Returns the main text of a page (resiliparse), one paragraph per line, without menus and scripts."""
    extract = need("resiliparse.extract.html2text").extract_plain_text
    text: str = extract(html, main_content=True, alt_texts=False, list_bullets=True, links=False, comments=False)
    return text


def page(data: bytes, charset: str | None) -> str:
    """Returns the characters of an HTML page.

    The encoding is that of the byte order mark, of the charset sent with the page, or of the charset named in the page,
    unless the bytes are UTF-8 anyway; otherwise it is detected. Raises Undecodable.
    """
    meta = _META.search(data[:_META_BYTES])
    for name in (charset, meta.group(1).decode("ascii") if meta else None):
        if encoding.mark(data) is None and name:
            text = encoding.utf8_despite(data, name)
            text = _declared(data, name) if text is None else text
            if text is not None:
                return text
    return encoding.decode(data)


def _declared(data: bytes, name: str) -> str | None:
    python = need("resiliparse.parse.encoding").map_encoding_to_html5(name, fallback_utf8=False)
    try:
        return data.decode(python) if python else None
    except (UnicodeDecodeError, LookupError):
        return None


def from_wikitext(wikitext: str) -> str:
    """Returns the prose of an article (mwparserfromhell).

    Links become their words and headings become lines. Templates, tables, files, categories and references are left
    out, and so are the sections of references and links at the end.
    """
    article = _without_tables(_without_templates(_without_references(wikitext)))
    text = "".join(_words(need("mwparserfromhell").parse(article, skip_style_tags=True).nodes))
    text = _EMPTY_BRACKETS.sub("", _FURNITURE.sub("", text))
    text = "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n"))
    return _BLANKS.sub("\n\n", text).strip()


def _without_references(wikitext: str) -> str:
    """Removes references before parsing: they are a large part of the markup and do not nest."""
    *parts, rest = _EMPTY_REFERENCE.sub("", wikitext).split("</ref>")
    return "".join(part[: begin if (begin := part.rfind("<ref")) >= 0 else len(part)] for part in parts) + rest


def _without_templates(wikitext: str) -> str:
    """Removes templates from the innermost outwards; those that only format their words (`_SETTING`) are left to
    the parser.
    """
    for _ in range(_TEMPLATE_DEPTH):
        wikitext, count = _TEMPLATE.subn(_held, wikitext)
        if not count:
            break
    return wikitext.translate(_HELD)


def _held(template: re.Match[str]) -> str:
    name, bar, _ = template.group(1).partition("|")
    return f"\x02{template.group(1)}\x03" if bar and _sets(name) else ""


def _sets(name: str) -> bool:
    name = name.strip().lower()
    return name in _SETTING or name.startswith("lang-")


def _without_tables(wikitext: str) -> str:
    """Removes tables ({| … |}) before parsing; they nest and may contain anything."""
    kept, depth = [], 0
    for line in wikitext.split("\n"):
        begins = line.lstrip(" :*")
        if begins.startswith("{|"):
            depth += 1
        if depth == 0:
            kept.append(line)
        if depth and begins.startswith("|}") and not begins.startswith("|}}"):
            depth -= 1
            kept.append(begins[2:])
    return "\n".join(kept) if depth == 0 else wikitext


def _words(nodes: Any) -> list[str]:
    words: list[str] = []
    skipping = 7
    for node in nodes:
        kind = type(node).__name__
        if kind == "Heading" and node.level <= max(2, skipping % 7):
            title = "".join(_words(node.title.nodes)).strip()
            skipping = node.level if title.lower() in _TAIL else 7
        if skipping < 7:
            continue
        if kind == "Text":
            words.append(str(node.value))
        elif kind == "Heading":
            words += ["\n", *_words(node.title.nodes), "\n"]
        elif kind == "Wikilink":
            words += _link(node)
        elif kind == "ExternalLink":
            words += _words(node.title.nodes) if node.title is not None else []
        elif kind == "Template":
            words += _template(node)
        elif kind == "Tag":
            name = str(node.tag).strip().lower()
            if name in ("br", "hr"):
                words.append("\n")
            elif node.contents is not None and name not in _NOT_TEXT:
                words += _words(node.contents.nodes)
        elif kind == "HTMLEntity":
            words.append(_entity(node))
    return words


def _template(node: Any) -> list[str]:
    """Returns the words of {{lang|el|λόγος}} and similar templates."""
    places = [parameter.value for parameter in node.params if not parameter.showkey]
    return _words(places[-1].nodes) if places and _sets(str(node.name)) else []


def _link(node: Any) -> list[str]:
    """Returns the words of [[target|words]]; none for files, categories and links to other languages."""
    target = str(node.title).strip()
    space = target.split(":", 1)[0] if ":" in target else ""
    if space and _is_namespace(space):
        return []
    return _words(node.text.nodes) if node.text is not None else [target.lstrip(":")]


_NAMESPACES = {
    *("file", "image", "category", "media", "datei", "bild", "kategorie", "fichier", "catégorie"),
    *("archivo", "imagen", "categoría", "immagine", "categoria", "ficheiro", "imagem"),
    *("bestand", "categorie", "plik", "kategoria", "fil", "kategori", "tiedosto", "luokka"),
    *("файл", "изображение", "категория", "категорія"),
    *("ファイル", "画像", "カテゴリ", "파일", "그림", "분류"),
    *("文件", "图像", "圖像", "分类", "分類", "檔案"),
}


def _is_namespace(name: str) -> bool:
    """Returns whether a name is a namespace of files or categories in a large Wikipedia, or a language code
    (`[[ko:…]]`).
    """
    return name.strip().lower() in _NAMESPACES or bool(re.fullmatch(r"[a-z]{2,3}(-[a-z]+)*", name))


def _entity(node: Any) -> str:
    try:
        character: str = node.normalize()
    except (ValueError, OverflowError):
        return ""
    return " " if character == "\xa0" else character
