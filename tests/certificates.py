"""A certificate authority of the test's own, and a server's certificate from it."""

from pathlib import Path

import trustme

__all__ = ["make_certificates"]


def make_certificates(directory: Path) -> Path:
    """Write ca.crt, and server.crt with server.key for `localhost`; returns the directory."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(directory / "ca.crt")
    server.private_key_pem.write_to_path(directory / "server.key")
    for position, part in enumerate(server.cert_chain_pems):
        part.write_to_path(directory / "server.crt", append=position > 0)
    return directory
