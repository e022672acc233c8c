"""Mail addresses, in any script and under any top-level domain."""

import re

_LETTER = "A-Za-z0-9\u00c0-\u024f\u0370-\u058f"
"""Scripts that put spaces between words: elsewhere an address has none before it, and would take the word in."""
_EAST = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LABEL = rf"[{_LETTER}{_EAST}\u0600-\u06ff\u0900-\u097f\u05d0-\u05ea](?:[{_LETTER}{_EAST}\u0600-\u06ff\u0900-\u097f-]{{0,61}}[{_LETTER}{_EAST}\u0600-\u06ff\u0900-\u097f])?"

_IDN = (
    "рф укр бел срб мкд қаз бг ею мон ком орг онлайн сайт дети москва рус ελ ευ հայ გე 中国 中國 公司 网络 网址 網址 香港 "
    "台湾 台灣 澳門 新加坡 集团 在线 中文网 商城 世界 手机 移动 한국 닷컴 닷넷 삼성 みんな コム ไทย คอม भारत संगठन "
    "السعودية مصر امارات ایران قطر الاردن تونس المغرب شبكة קום ישראל"
).split()

EMAIL = re.compile(
    rf"""(?<![\w.+%-]) (?!git@) (?:[{_LETTER}_][{_LETTER}_.+%'-]{{0,63}} | [{_EAST}]{{1,20}}(?=@[^A-Za-z\s.]))
        @ (?:{_LABEL}\.){{1,8}}
        (?: (?P<domain>[A-Za-z]{{2,24}}) (?![A-Za-z0-9_-]) | xn--[A-Za-z0-9-]{{2,59}} (?![A-Za-z0-9_-]) | (?:{"|".join(_IDN)}) )""",
    re.VERBOSE,
)
HINT = r"[\pL\pN_'%+-]@[\pL\pN]"

_COUNTRIES = frozenset(
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd cf "
    "cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gb gd ge gf "
    "gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km "
    "kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz "
    "na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg "
    "sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc "
    "ve vg vi vn vu wf ws ye yt za zm zw".split()
)
_COMMON = _COUNTRIES | frozenset(
    "com org net edu gov mil int info biz name pro mobi aero coop museum asia cat jobs tel travel xxx app dev online cloud "
    "email site store shop tech xyz club agency company digital expert solutions systems services network software "
    "academy bank blog design group health law life live media news photography studio team today website wiki work world "
    "berlin hamburg london paris amsterdam wien tokyo nyc africa bayern koeln moscow istanbul".split()
)
_NO_DOMAINS = frozenset(
    "png jpg jpeg gif svg webp ico bmp tif tiff pdf css scss sass less js jsx mjs ts tsx json html htm xml yml yaml toml ini "
    "cfg txt csv tsv log md rst tex bib rb java cpp hpp php class exe dll so jar war tar gz tgz zip rar bz xz lock conf "
    "mp mpg mpeg mov avi wav ttf otf woff eot service socket target timer mount device slice local localhost localdomain "
    "internal intranet lan home corp test example invalid onion".split()
)
"""Endings of files and of units, and domains that are reserved: logo@2x.png is no address."""


def is_common(match: re.Match[str]) -> bool:
    """Returns whether a domain's end is one that is known: in code, `x@y.mean` is a product of matrices."""
    domain = match["domain"]
    return domain is None or domain.lower() in _COMMON


def is_any(match: re.Match[str]) -> bool:
    """Returns whether a domain's end may be one: there are some 1,500, with more to come."""
    domain = match["domain"]
    if domain is None:
        return True
    domain = domain.lower()
    return domain in _COUNTRIES if len(domain) == 2 else domain not in _NO_DOMAINS
