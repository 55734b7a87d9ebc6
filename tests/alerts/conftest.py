"""A mail server and a web server for each test."""

from collections.abc import Iterator

import pytest

from tests.support.outlets import Certificates, Hook, Mailbox, serving


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def mailbox(certificates: Certificates) -> Iterator[Mailbox]:
    mailbox = Mailbox(certificates)
    with serving(mailbox):
        yield mailbox


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    with serving(hook):
        yield hook
