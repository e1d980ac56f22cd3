"""Which addresses are public."""

from __future__ import annotations

import pytest

from services.retriever.connectors.addresses import AllowedHosts, is_public, parse

PUBLIC = [
    "1.1.1.1",
    "93.184.215.14",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "64:ff9b::101:101",
]
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "fc00::1",
    "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "2a00:1450::5efe:7f00:1",
    "2a00:1450::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert is_public(parse(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_may_not(address: str) -> None:
    assert not is_public(parse(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "covered"),
    [
        ("intranet.example", "intranet.example", 80, True),
        ("intranet.example", "INTRANET.example.", 8443, True),
        ("intranet.example:8443", "intranet.example", 8443, True),
        ("intranet.example:8443", "intranet.example", 443, False),
        ("intranet.example", "evil.intranet.example", 80, False),
        ("intranet.example", "intranet.example.evil.com", 80, False),
        ("127.0.0.1:9000", "127.0.0.1", 9000, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]", "::1", 1, True),
        ("::1", "::1", 1, True),
    ],
)
def test_a_setting_names_hosts_with_or_without_a_port(entry: str, host: str, port: int, covered: bool) -> None:
    assert AllowedHosts([entry]).covers(host, port) is covered
