"""What the tests of every entry begin with."""

from types import ModuleType

import pytest

from bench.contract import Entry
from tests.impls.apart import HERE
from tests.make import load_configured


@pytest.fixture(params=HERE)
def entry(request: pytest.FixtureRequest) -> Entry:
    return request.param


@pytest.fixture
def module(entry: Entry) -> ModuleType:
    """The entry's module, its framework configured once in this process."""
    return load_configured(entry.module)
