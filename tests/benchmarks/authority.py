"""The certificate authority of the stand-in, added to the usual ones for the time of a run.

`python -m tests.benchmarks.authority` is the production server that trusts it. The bundle holds all
the usual authorities besides: reading them is part of what a new connection costs.
"""

import os
from pathlib import Path

import certifi
import requests.adapters
import trustme

BUNDLE = "BENCH_AUTHORITIES"


def make(folder: Path) -> tuple[Path, Path]:
    """A certificate with its key, and the bundle that trusts it."""
    authority = trustme.CA()
    certificate, bundle = folder / "upstream.pem", folder / "authorities.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return certificate, bundle


def trust_it() -> None:
    """As the environment says; without a word of it nothing changes."""
    if bundle := os.environ.get(BUNDLE):
        requests.adapters.DEFAULT_CA_BUNDLE_PATH = bundle


if __name__ == "__main__":
    from webapp.server import main

    trust_it()
    main()
