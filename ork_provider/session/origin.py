"""Where a URL leads: read strictly, so that the host that is checked is the host that is contacted.

Every client has ideas of its own of what a strange URL means: one takes a backslash for a slash, another drops a
tab. So what could be read in two ways is refused, and what is left is read by all of them as it is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

from ork_provider.errors import BadRequest

_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"
_LABEL = "[a-z0-9_-]{1,63}"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]{{2,45}}\]"
_URL = re.compile(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?(?=[/?#]|\Z)", re.IGNORECASE | re.ASCII)
_RULE = re.compile(rf"(\*\.)?({_HOST})(?::([0-9]{{1,5}}))?", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\.?\Z", re.IGNORECASE | re.ASCII)
_HEAD = re.compile("(?:[^/?#]*://)?[^/?#]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A server: scheme, host and port; two URLs with the same one are on the same server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}"

    @property
    def place(self) -> str:
        """The host, with the port if it is not the usual one."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


def to_ascii(url: str) -> str:
    """Return a URL as it is sent: all that is not ASCII, and what never stands in a URL, percent-encoded."""
    return quote(url, safe=_CHARACTERS)


def read_origin(url: str) -> Origin:
    """Return where a URL leads; raise ValueError that says what is wrong with it, without quoting it."""
    if _CONTROL.search(url):
        raise ValueError("not a URL: it holds a line break, a tab or another control character")
    if not url.isascii():
        to_ascii(url)  # half a character cannot be sent
    return _read_head(_HEAD.match(url).group())  # type: ignore[union-attr]  # it matches any text


@lru_cache(maxsize=256)  # thousands of jobs are on a few servers, and each is asked for by URL again and again
def _read_head(head: str) -> Origin:
    """Read a URL up to its path."""
    text = to_ascii(head)
    match = _URL.match(text)
    if match is None:
        raise ValueError(_complain(text))
    scheme, host, port = match.groups()
    number = _PORTS[scheme.lower()] if port is None else int(port)
    if not 0 < number < 65536:
        raise ValueError("not a URL: its port is none")
    return Origin(scheme.lower(), _plain(host), number)


def _complain(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in _PORTS:
        return "not an http(s) URL"
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return "a URL may not hold a login (user:password@host); put it into the Airflow connection"
    return "not a URL: its host or port is none (write names that are not ASCII as xn--...)"


def _plain(host: str) -> str:
    """Return a host in the one spelling in which it is compared; an address in any odd spelling is a ValueError.

    Systems take 127.1, 2130706433 and 0x7f000001 for 127.0.0.1.
    """
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]"
        return str(IPv4Address(host)) if _NUMBER.search(host) else host.lower()
    except AddressValueError as exc:
        raise ValueError("not a URL: its host is no IP address, as 127.0.0.1 or [::1], and no name") from exc


def same_origin(a: str, b: str) -> bool:
    """Whether two URLs are on the same server, so that one's credentials may go to the other."""
    return read_origin(a) == read_origin(b)


@dataclass(frozen=True, slots=True)
class HostRule:
    """Hosts that may be asked: one, or all below a domain; on one port, or on any."""

    host: str
    below: bool
    port: int | None

    def allows(self, origin: Origin) -> bool:
        """Whether a server is one of them."""
        host = origin.host.rstrip(".")
        named = host.endswith(f".{self.host}") if self.below else host == self.host
        return named and self.port in (None, origin.port)


def check_host(origin: Origin, rules: tuple[HostRule, ...], what: object) -> None:
    """Raise BadRequest if there are rules and none of them allows a server; ``what`` would have been sent there."""
    if rules and not any(rule.allows(origin) for rule in rules):
        raise BadRequest(
            f"{what}: the host {origin.place} is not in [ork] allowed_hosts, so nothing was sent there. Have it added, "
            "or use an Airflow connection to that host."
        )


def read_rules(text: str) -> tuple[HostRule, ...]:
    """Read hosts, separated by commas or line breaks: ``host``, ``host:port``, ``*.domain``, ``*.domain:port``.

    :raises ValueError: names the one that is none of these
    """
    return tuple(_read_rule(word.strip()) for word in re.split("[,\n]", text) if word.strip())


def _read_rule(word: str) -> HostRule:
    match = _RULE.fullmatch(word)
    if match is None or (match[1] and match[2].startswith("[")) or (match[3] and not 0 < int(match[3]) < 65536):
        raise ValueError(f"{word!r} is none of host, host:port, *.domain and *.domain:port")
    return HostRule(_plain(match[2]).rstrip("."), bool(match[1]), int(match[3]) if match[3] else None)
