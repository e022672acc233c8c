"""Finds public IP addresses, and tells them from version numbers."""

import ipaddress
import re

IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)", re.ASCII)
HINT_4 = r"\d\.\d{1,3}\.\d{1,3}\.\d"

_GROUP = r"[0-9a-fA-F]{1,4}"
_FOUR = r"\d{1,3}(?:\.\d{1,3}){3}"
IPV6 = re.compile(
    rf"""(?<![\w:.]) (?: (?:{_GROUP}:){{7}}{_GROUP} | (?:{_GROUP}:){{6}}{_FOUR}
        | (?:{_GROUP}(?::{_GROUP}){{0,6}})? :: (?: (?:{_GROUP}:){{0,5}}{_FOUR} | {_GROUP}(?::{_GROUP}){{0,6}} )? )
        (?! \w | :[0-9a-fA-F:] | \.\d )""",
    re.ASCII | re.VERBOSE,
)
HINT_6 = r"[23][0-9a-fA-F]{3}:[0-9a-fA-F:]|::[fF]{4}:\d"

_NUMBER_OF = re.compile(
    r"(?:versions?|vers\.?|ver\.?|\bv\.?|releases?|revision|rev\.?|build|update|patch|firmware|section|chapter|§|==|>=|<=)\W{0,3}$",
    re.IGNORECASE,
)
_OF_A_HOST = re.compile(
    r"(?:\b(?:ip|ipv4|ips|inet|address|addresses|addr|host|hosts|server|servers|from|ping|dns|gateway|router|connect\w*|login"
    r"|client|peer|subnet|nameserver|listen\w*|proxy|remote|src|dst|source|destination|whois|ssh|telnet|adresse|dirección"
    r"|адрес|сервер|地址|アドレス|주소)\b[^.\n]{0,24}|://|@|地址|アドレス|주소)$",
    re.IGNORECASE,
)
_PRODUCT = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+#_.]*/v?|\b[A-Z][A-Za-z0-9+#_.]*[ -]v?|\bpython\d? |\bjava |\bnginx |\bkernel )$"
)
_AS_HOST = re.compile(r":\d{2,5}\b|/\d{1,2}\b|[ \t]+-[ \t]")
_BEFORE = 48
_SMALL, _LARGE = 32, 100


def is_public_4(match: re.Match[str]) -> bool:
    """Returns whether four numbers are a public address; small ones count as a version unless the context says
    otherwise.
    """
    text, before = match[0], match.string[max(0, match.start() - _BEFORE) : match.start()]
    parts = [int(part) for part in text.split(".")]
    if max(parts) < 10 or _NUMBER_OF.search(before) or re.search(r"[A-Za-z]/v?$", before):
        return False
    large = sum(part >= _LARGE for part in parts)
    small = parts[0] < _SMALL and (large == 0 or (large == 1 and _PRODUCT.search(before) is not None))
    if small and not (_OF_A_HOST.search(before) or _AS_HOST.match(match.string, match.end())):
        return False
    return _is_public(text)


def is_public_6(match: re.Match[str]) -> bool:
    """Returns whether it is a public unicast address, or maps a public IPv4 address."""
    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return False
    if address.ipv4_mapped:
        return _is_public(str(address.ipv4_mapped))
    return int(address) >> 125 == 1 and address.is_global


def _is_public(text: str) -> bool:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast
