"""Finds telephone numbers: with a country code, in countries' usual forms, or after a word such as "phone"."""

import itertools
import re

from palmetto.corpus.rules.personal_data.checks import isbn10

_END = r"(?![\w]|[-/.]\d|[ ]\d)"
_START = r"(?<![\w+.,/:-])(?<!\d[ (])"

INTERNATIONAL = re.compile(
    r"(?<![\w+.,/-])(?:\+|(?<!\d )00(?=[1-9]\d[ ]))[1-9]\d{0,2}(?:[ .\u00a0/-]?(?:\(\d{1,4}\)|\d{1,12})){1,6}"
    r"(?![\w]|[ .,-]?\d)",
    re.ASCII,
)
HINT_INTERNATIONAL = r"\+[1-9]|\b00[1-9]\d "

_FORMS = (
    # North America, and others that group digits in three, three and four.
    r"(?:\+?1[ .-])?\([2-9]\d\d\)[ ]?[2-9]\d\d[-. ]\d{4}(?![\w-])",
    r"(?:1[-.])?[2-9]\d\d([-.])[2-9]\d\d\1\d{4}(?![\w-]|\.\d)",
    # Korea, Japan; China and India with an area code.
    r"0\d{1,3}-\d{3,4}-\d{4}(?![\w-])",
    r"\(?0\d{2,3}\)?[- ]\d{4}[ -]?\d{4}",
    # Great Britain.
    r"\(?02\d\)?[ -]\d{4}[ -]\d{4}",
    r"\(?01\d{3}\)?[ -]\d{5,6}",
    r"\(?01\d{3}\)?[ -]\d{3}[ -]\d{3}",
    r"\(?0(?:1\d1|11\d|[38]\d\d)\)?[ -]\d{3}[ -]\d{4}",
    r"07\d{3}[ -]?\d{6}",
    r"07\d{3}[ -]\d{3}[ -]\d{3}",
    # France.
    r"0[1-9](?P<pair>[ .-])\d\d(?P=pair)\d\d(?P=pair)\d\d(?P=pair)\d\d",
    r"(?P<bare>0[67]\d{8})",
    # Germany, Austria.
    r"\(?0[1-9]\d{1,4}\)?[ ]?/[ ]?\d{2,8}(?:[ -]?\d{2,4}){0,3}",
    r"\(0[1-9]\d{1,4}\)(?:[ ]\d{2,3}){2,4}",
    r"\(0[1-9]\d{1,4}\)[ ]\d{3,4}[ ]?\d{2,5}(?:[ -]\d{1,4})?",
    r"0(?:1[567]\d{1,2}|30|40|69|89|[2-9]\d{2,3})[ -]\d{3,4}[ ]?\d{3,5}",
    r"0(?:1[567]\d{1,2}|30|40|69|89|[2-9]\d{2})[ ]\d{2,3}(?:[ ]\d{2,3}){2,3}",
    # China.
    r"1[3-9]\d(?P<han>[ -])\d{4}(?P=han)\d{4}",
    r"1[3-9]\d{9}",
    # Russia.
    r"8[ -]?\(\d{3,5}\)[ ]?\d{1,3}[- ]\d\d[- ]\d\d",
    r"89\d{9}",
    r"8(?P<eight>[ -])\d{3}(?P=eight)\d{3}[- ]\d\d[- ]?\d\d",
    # Brazil.
    r"\(?0?[1-9]\d\)[ ]?9?[ ]?\d{4}[- ]\d{4}",
    r"[1-9]\d[ ]9\d{4}-\d{4}",
    # Australia.
    r"\(0[2378]\)[ ]\d{4}[ ]\d{4}",
    r"0[2378][ ]\d{4}[ ]\d{4}",
    r"04\d\d[ -]\d{3}[ -]\d{3}",
    r"1[38]00[ -]\d{3}[ -]\d{3}",
    # Spain.
    r"[679]\d\d[ .-]\d\d[ .-]\d\d[ .-]\d\d",
    r"9[1-8][ ]\d{3}[ ]\d\d[ ]\d\d",
    r"(?P<thousands>[679]\d\d[ ]\d{3}[ ]\d{3})",
    r"[679]\d\d-\d{3}-\d{3}",
    # Italy.
    r"0\d{1,3}[ ./-]\d{5,8}",
    r"0[1-9]\d?[ ]\d{3,4}[ ]\d{3,4}",
    r"3[2-9]\d[ ./-]\d{6,7}",
    r"3[2-9]\d[ ]\d{3}[ ]\d{3,4}",
    r"3[2-9]\d[ ]\d\d[ ]\d\d[ ]\d{3}",
    # India.
    r"0?[6-9]\d{4}[ -]\d{5}",
    r"0\d{2,4}[- ]\d{6,8}",
)
NATIONAL = re.compile(rf"{_START}(?=[(0-9])(?:{'|'.join(_FORMS)}){_END}", re.ASCII)
HINT_NATIONAL = r"\d[-. /)]{1,3}\d{2,8}[-. ]?\d{2,5}\b|\b(?:1[3-9]\d{9}|0[67]\d{8,9}|89\d{9})\b"

LABELLED = re.compile(r"(?<![0-9+(])\+?(?:[0-9]|\([0-9+])[0-9 ()./\u00a0–-]{5,20}[0-9](?![0-9])")
_LABEL = re.compile(
    r"""(?: (?<![^\W\d_]) (?:tel|tél|phone|telephone|ph|mobile|mob|cell|cellphone|fax|whatsapp|telefax|telefon\w{0,7}
            |téléphone|teléfono|telefone|telefono|móvil|celular|cellulare|handy(?:nummer)?|mobil|portable
            |тел|телефон\w{0,2}|моб|факс|τηλ|τηλέφωνο|điện\ thoại|โทร|फ़ोन|फोन|هاتف|טלפון)
          | 전화 | 휴대폰 | 핸드폰 | 電話 | 电话 | 手机 | 手機 | 携帯 )
        (?:번호|番号|号码|號碼|[ ](?:no|nr|number|num|nº)|(?:[ ][^\W\d_]{1,12}){1,2}(?=:))?
        [.]?[ ]{0,2}[:：#]?[ ]{0,2} $""",
    re.VERBOSE | re.IGNORECASE,
)
"""Matches a word that announces a telephone number."""
_LABEL_CHARACTERS = 48
HINT_LABELLED = (
    r"(?i)(?:tel|tél|\bph|phone|telephone|mobile|mob|cell|fax|whatsapp|telefon|téléphone|teléfono|móvil|celular"
    r"|cellulare|handy|mobil|portable|тел|моб|факс|τηλ|thoại|โทร|फ़ोन|फोन|هاتف|טלפון|전화|휴대폰|핸드폰|電話|电话|手机|手機|携帯)"
    r"[^0-9+(\n]{0,30}[+(]{0,2}\d"
)

_AMOUNT_AFTER = re.compile(
    r"[ ]?(?:€|\$|£|¥|%|₽|руб|eur|usd|people|persons|inhabitants|habitants|habitantes|abitanti|einwohner|euros?"
    r"|dollars?|km|m²|kg|bytes|tonn|million|bn|жител|человек)",
    re.IGNORECASE,
)
_AMOUNT_BEFORE = re.compile(r"(?:[€$£¥#]|nr?\.|eur|usd|isbn|issn)[ :]?$", re.IGNORECASE)
_CELL = re.compile(r"[|\t;] *$")
_FEWEST, _MOST = 9, 15


def is_international(match: re.Match[str]) -> bool:
    """Returns whether the number of digits is that of a telephone number."""
    return _FEWEST <= _digits(match[0]) <= _MOST


def is_national(match: re.Match[str]) -> bool:
    """Returns whether it has a telephone number's digits and is not an amount, a row of numbers or an ISBN."""
    text = match[0]
    before = match.string[max(0, match.start() - 8) : match.start()]
    if not 8 <= _digits(text) <= 13 or _AMOUNT_BEFORE.search(before) or text.endswith(" 000"):
        return False
    if match["bare"] is not None:
        return not isbn10(text)
    if match["pair"] is not None:
        pairs = [int(pair) for pair in re.split(r"\D", text)]
        return any(b - a != 1 for a, b in itertools.pairwise(pairs))
    if match["thousands"] is not None and _CELL.search(before):
        return False
    return not _AMOUNT_AFTER.match(match.string, match.end())


def is_labelled(match: re.Match[str]) -> bool:
    """Returns whether a word before it announces a telephone number, and the number of digits fits."""
    before = match.string[max(0, match.start() - _LABEL_CHARACTERS) : match.start()]
    return 7 <= _digits(match[0]) <= _MOST and _LABEL.search(before) is not None


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)
