"""Which addresses of the network may be reached on behalf of a source: public ones, and those of hosts a setting names. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose registries (https://www.iana.org/assignments/iana-ipv4-special-registry), written out because what Python's
# `is_global` holds differs between its releases, and three addresses of clouds that answer to whoever is on their machines.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's WireServer, the one metadata service at a public address
    )
)  # fmt: skip
# Only 2000::/3 is handed out; what of it is special is named here. 6to4 and Teredo carry an IPv4 address and lead nowhere any more.
_HANDED_OUT_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: Address) -> bool:
    """Whether this is an address of a host on the public internet.

    Private, shared (100.64/10), loopback, link-local, unique-local, multicast, unspecified, documentation, benchmark and reserved
    addresses are not, nor are IPv6 addresses that only carry an IPv4 one (mapped, compatible, 6to4, Teredo, ISATAP). NAT64's
    well-known prefix is how a network without IPv4 reaches everything, so it counts as what it carries.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address not in _HANDED_OUT_V6 or any(address in network for network in _REFUSED_V6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


def parse(text: str) -> Address:
    """An address as a resolver writes it, with or without a zone (`fe80::1%eth0`). Raises ValueError."""
    return ipaddress.ip_address(text.partition("%")[0])


class AllowedHosts:
    """Hosts that may be reached wherever they are: `intranet.example`, `10.1.2.3`, `[::1]` for every port, or `intranet.example:8443`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(_plain(name) for name in names)

    def covers(self, host: str, port: int) -> bool:
        """Whether the address check is waived for this host."""
        plain = _plain(host)
        return plain in self._names or f"{plain}:{port}" in self._names


def _plain(name: str) -> str:
    lowered = name.strip().lower()
    if lowered.startswith("[") and "]" in lowered:
        inner, _, rest = lowered[1:].partition("]")
        return inner + rest
    host, colon, port = lowered.partition(":")
    return host.rstrip(".") + colon + port
