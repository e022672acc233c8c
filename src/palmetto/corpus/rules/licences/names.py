"""Finds licences by their names: SPDX's identifiers, abbreviations, full names and addresses."""

import re
from typing import NamedTuple

_CC = r"(?P<cc>(?: (?:non ?commercial|nc|share ?alike|sa|no ?deriv\w*|nd))*)"

_COPYLEFT = {
    "AGPL": r"(?:gnu )?affero (?:general public licen[cs]es?|gpl)|agpl",
    "LGPL": r"(?:gnu )?(?:lesser|library) (?:general public licen[cs]es?|gpl)|(?:gnu )?lgpl(?:lr)?",
    "GFDL": r"(?:gnu )?free documentation licen[cs]e|gfdl|gnu fdl",
    "GPL": r"(?:gnu )?general public licen[cs]es?|gnu public licen[cs]e|(?:gnu )?gpl|gnu licen[cs]e",
    "MPL": r"mozilla public licen[cs]e|mpl",
    "EPL": r"eclipse public licen[cs]e|epl",
    "EUPL": r"european union public licen[cs]e|eupl",
    "CDDL": r"common development and distribution licen[cs]e|cddl",
    "CPAL": r"common public attribution licen[cs]e|cpal",
    "CPL": r"common public licen[cs]e|cpl",
    "IPL": r"ibm public licen[cs]e|ipl",
    "OSL": r"(?:non profit )?open software licen[cs]e|(?:np)?osl",
    "MS-RL": r"microsoft reciprocal licen[cs]e|ms rl",
    "CECILL": r"cecill(?! (?:b|c)\b)",
    "SISSL": r"sun industry standards source licen[cs]e|sissl",
    "RPL": r"reciprocal public licen[cs]e|rpl",
    "RPSL": r"realnetworks public source licen[cs]e|rpsl",
    "QPL": r"q public licen[cs]e|qpl",
    "SPL": r"sun public licen[cs]e|spl",
    "APSL": r"apple public source licen[cs]e|apsl",
    "NPL": r"netscape public licen[cs]e|npl",
    "Sleepycat": r"sleepycat(?: licen[cs]e)?",
    "ODbL": r"open (?:data ?base|data commons open database) licen[cs]e|odbl",
    "CDLA-Sharing": r"cdla sharing",
    "CERN-OHL": r"cern ohl (?:s|w)",
    "CAL": r"cryptographic autonomy licen[cs]e|cal (?=1\.0)",
    "copyleft-next": r"copyleft next|licenseref copyleft\w*|reciprocal",
    "LiLiQ-R": r"liliq r",
    "SSPL": r"server side public licen[cs]e|sspl",
    "BUSL": r"business source licen[cs]e|busl|bsl (?=1\.1)",
    "Elastic": r"elastic licen[cs]e|elastic (?=2\.0)",
    "PolyForm": r"polyform(?: \w+)*?(?= \d|$| licen)",
    "Commons-Clause": r"commons clause",
}
"""Strong and weak copyleft licences; the last five also restrict use."""

_PERMISSIVE = {
    "MIT": r"(?:mit|expat)(?: (?:x11|0|cmu|licen[cs]ed?))*|x11(?: licen[cs]e)?",
    "Apache": r"apache(?: software)?(?: public)?(?: licen[cs]e)?|asl (?=[12])",
    "BSD": r"(?:(?:new|modified|simplified|revised|original|free|2|3|4|two|three|four|0) ?(?:clause )?)*bsd"
    r"(?: ?(?:[0-4]|new|style))?(?: clause)?"
    r"(?: (?:new or revised|original or old|new|revised|simplified|patent|clear))?(?: licen[cs]e)?",
    "ISC": r"isc(?: licen[cs]e)?",
    "Zlib": r"zlib(?: libpng)?(?: licen[cs]e)?|libpng(?: licen[cs]e)?",
    "BSL": r"boost(?: software)? licen[cs]e|bsl",
    "Unlicense": r"(?:the )?unlicense",
    "CC0": r"cc ?0|creative commons zero|creativecommons.org publicdomain zero",
    "public-domain": r"public domain",
    "WTFPL": r"wtfpl|do what the fuck you want to public licen[cs]e",
    "PSF": r"(?:python software foundation|psf)(?: licen[cs]e)?",
    "Artistic": r"artistic(?: licen[cs]e)?|same terms as perl(?: itself)?",
    "PostgreSQL": r"postgresql licen[cs]e",
    "NCSA": r"ncsa|university of illinois",
    "CECILL-B": r"cecill (?:b|c)",
    "0BSD": r"0bsd",
}
"""Permissive licences whose names are unambiguous in prose."""

_IDENTIFIERS = (
    r"aal|academic|adsl|afl|afmparse|amdplpa|aml|ampas|antlr pd|apafml|bahyph|barr|beerware|bitstream|blessing|blueoak"
    r"|bzip2|cc pddc|cdla permissive|cern ohl p|cnri|curl|dsdp|dvipdfm|ecl|efl|entessa|eudatagrid|fair|fsf(?:ap|ul)\w*"
    r"|ftl|glwtpl|hpnd|ibm pibs|icu|ijg|imagemagick|info zip|intel|json|libtiff|linux openib|lppl|miros|ms pl|mtll"
    r"|mulanpsl|naumen|net snmp|netcdf|nist|ntp|odc by|ofl|oldap|openssl|pddl|perl|php|plexus|postgresql|psfrag"
    r"|python|rsa md|ruby|saxpath|sgi b|smlnj|ssh openssh|sunpro|tcl|tcp wrappers|unicode|upl|vim|vsl|w3c|wxwindows"
    r"|x11|xinetd|xnet|xpp|ypl|zed|zend|zpl"
)
"""Permissive licences whose names mean other things in prose."""

_VERSION = r"(?:,? ?(?:version |ver\.? |v ?\.? ?|release )?(?P<version>\d+(?:\.\d+)*)(?![0-9])(?! (?:clause|years?)))?"
_LATER = (
    r"(?P<later> ?\+| (?:or|and) (?:at your (?:option|choice) )?(?:any )?"
    r"(?:later|newer|greater|higher|above)(?: versions?)?)?(?P<only> only)?"
)


class Mention(NamedTuple):
    """A licence that is named: the position, its SPDX identifier as far as known, and whether it is copyleft."""

    start: int
    end: int
    licence: str
    copyleft: bool


def _compiled(more: str = "") -> re.Pattern[str]:
    rows = [*_COPYLEFT.items(), *_PERMISSIVE.items()]
    families = "|".join(f"(?P<n{number}>{expression})" for number, (_, expression) in enumerate(rows))
    attribution = (
        r"(?P<attribution>(?:(?:cc|creative ?commons(?:\.org licenses)?)(?: licen[cs]es?)?(?: \d\.\d)? "
        rf"(?:attribution|by)|attribution(?= (?:non|share|no ?deriv|\d\.\d (?:int|unp|gen)))){_CC})"
    )
    return re.compile(rf"(?<![a-z0-9])(?:{attribution}|{families}{more}){_VERSION}{_LATER}(?![a-z])")


_FAMILIES = (*_COPYLEFT, *_PERMISSIVE)
_IN_PROSE = _compiled()
_IN_EXPRESSIONS = _compiled(f"|(?P<identifier>{_IDENTIFIERS})")


def mentions(words: str, *, expression: bool = False) -> list[Mention]:
    """Returns the licences named in words, which are lower case and separated by single spaces, in order.

    expression: whether the words are an SPDX expression, in which "ruby" is a licence rather than a language.
    """
    found = (_IN_EXPRESSIONS if expression else _IN_PROSE).finditer(words)
    return [_mention(match) for match in found]


def _mention(match: re.Match[str]) -> Mention:
    if match["attribution"]:
        parts = match["cc"]
        family = "CC-BY" + "".join(
            f"-{short}"
            for short, long in (("NC", "non|nc"), ("ND", "no ?deriv|nd"), ("SA", "share|sa"))
            if re.search(rf" (?:{long})", parts)
        )
        return Mention(*match.span(), _versioned(family, match), family != "CC-BY")
    for number, family in enumerate(_FAMILIES):
        if match[f"n{number}"]:
            return Mention(*match.span(), _versioned(family, match), number < len(_COPYLEFT))
    return Mention(*match.span(), _versioned(match["identifier"].upper().replace(" ", "-"), match), False)


def _versioned(family: str, match: re.Match[str]) -> str:
    """Returns the licence with its version, if the family has versions: GPL-3.0-or-later."""
    version = match["version"]
    if family in ("MIT", "BSD", "ISC", "0BSD") or version is None:
        return family
    suffix = "-or-later" if match["later"] else "-only" if match["only"] else ""
    return f"{family}-{version if '.' in version else version + '.0'}{suffix}"
