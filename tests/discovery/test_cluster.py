from __future__ import annotations

import pytest

from labsvc.discovery import Cluster, endpoints


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        ("etcd1:2379", ["etcd1:2379"]),
        ("etcd1:2379, etcd2:2379", ["etcd1:2379", "etcd2:2379"]),
        ("http://127.0.0.1:2379,https://[::1]:2379", ["127.0.0.1:2379", "[::1]:2379"]),
    ],
)
def test_endpoints_as_etcdctl_reads_them(variable: str, found: list[str]) -> None:
    """One or several addresses, with a scheme or without."""
    assert endpoints({"ETCD_ENDPOINTS": variable}) == found


@pytest.mark.parametrize("environ", [{}, {"ETCD_ENDPOINTS": ""}, {"ETCD_ENDPOINTS": "a:1,"}])
def test_no_address_is_guessed(environ: dict[str, str]) -> None:
    """Without an address the service says which variable is missing."""
    with pytest.raises(LookupError, match="ETCD_ENDPOINTS"):
        endpoints(environ)


@pytest.mark.parametrize("wrong", ["etcd1:2379", []])
def test_endpoints_are_a_list(wrong: list[str]) -> None:
    """A string would be taken letter by letter."""
    with pytest.raises(ValueError, match="must be a list"):
        Cluster(wrong)
