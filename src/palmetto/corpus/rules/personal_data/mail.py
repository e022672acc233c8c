"""Finds mail addresses in any script and under any top-level domain."""

import re

_LETTER = "A-Za-z0-9\u00c0-\u024f\u0370-\u058f"
"""Letters of scripts with spaces; elsewhere no space precedes an address, and the word before it would be included."""
_EAST = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_REST = "\u05d0-\u05ea\u0600-\u06ff\u0900-\u097f"
_ANY = f"{_LETTER}{_EAST}{_REST}"
_LABEL = rf"[{_ANY}](?:[{_ANY}-]{{0,61}}[{_ANY}])?"
_IDN = (
    "рф|укр|бел|срб|мкд|қаз|бг|ею|мон|ком|орг|онлайн|сайт|дети|москва|рус|ελ|ευ|հայ|გე|中国|中國|公司|网络|网址|網址|香港"
    "|台湾|台灣|澳門|新加坡|集团|在线|中文网|商城|世界|手机|移动|한국|닷컴|닷넷|삼성|みんな|コム|ไทย|คอม|भारत|संगठन"
    "|السعودية|مصر|امارات|ایران|قطر|الاردن|تونس|المغرب|شبكة|קום|ישראל"
)

EMAIL = re.compile(
    rf"""(?<![\w.+%-]) (?!git@)
        (?:[{_LETTER}_][{_LETTER}_.+%'-]{{0,63}} | [{_EAST}]{{1,20}}(?=@[^A-Za-z\s.]))
        @ (?:{_LABEL}\.){{1,8}}
        (?: (?P<domain>[A-Za-z]{{2,24}}) (?![A-Za-z0-9_-]) | xn--[A-Za-z0-9-]{{2,59}} (?![A-Za-z0-9_-])
          | (?:{_IDN}) )""",
    re.VERBOSE,
)
HINT = r"[\pL\pN_'%+-]@[\pL\pN]"

_COUNTRIES = re.compile(
    r"a[c-gil-oq-uwxz]|b[abd-jm-or-tvwyz]|c[acdf-ik-oru-z]|d[ejkmoz]|e[ceghr-u]|f[ijkmor]|g[abd-ilmnp-uwy]|h[kmnrtu]"
    r"|i[del-oq-t]|j[emop]|k[eghimnprwyz]|l[abcikr-vy]|m[acdeghk-z]|n[acefgilopruz]|om|p[aefghk-nrstwy]|qa|r[eosuw]"
    r"|s[a-eg-ortvx-z]|t[cdfghj-ortvwz]|u[agksyz]|v[aceginu]|w[fs]|y[et]|z[amw]"
)
_COMMON = re.compile(
    r"com|org|net|edu|gov|mil|int|info|biz|name|pro|mobi|aero|coop|museum|asia|cat|jobs|tel|travel|app|dev|online|cloud"
    r"|email|site|store|shop|tech|xyz|club|agency|company|digital|expert|solutions|systems|services|network|software"
    r"|academy|bank|blog|design|group|health|law|life|live|media|news|photography|studio|team|today|website|wiki|work"
    r"|world|berlin|hamburg|london|paris|amsterdam|wien|tokyo|nyc|africa|bayern|koeln|moscow|istanbul"
)
_NO_DOMAINS = re.compile(
    r"png|jpe?g|gif|svg|webp|ico|bmp|tiff?|pdf|s?css|sass|less|jsx?|mjs|tsx?|json|html?|xml|ya?ml|toml|ini|cfg|txt|csv"
    r"|tsv|log|rst|tex|bib|java|[ch]pp|php|class|exe|dll|jar|war|tar|gz|tgz|zip|rar|bz|xz|lock|conf|mp|mpe?g|mov|avi|wav|ttf"
    r"|otf|woff|eot|service|socket|target|timer|mount|device|slice|local|localhost|localdomain|internal|intranet|lan|home"
    r"|corp|test|example|invalid|onion"
)
"""File extensions, units and reserved domains; logo@2x.png is no address."""


def is_common(match: re.Match[str]) -> bool:
    """Returns whether the top-level domain is a common one; in code, `x@y.mean` is a matrix product."""
    domain = match["domain"]
    return domain is None or bool(_COUNTRIES.fullmatch(domain.lower()) or _COMMON.fullmatch(domain.lower()))


def is_any(match: re.Match[str]) -> bool:
    """Returns whether the top-level domain is plausible; there are about 1,500, and new ones appear."""
    domain = match["domain"]
    if domain is None:
        return True
    if len(domain) == 2:
        return bool(_COUNTRIES.fullmatch(domain.lower()))
    return not _NO_DOMAINS.fullmatch(domain.lower())
