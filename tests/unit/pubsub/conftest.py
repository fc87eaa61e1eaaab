from collections.abc import AsyncIterator

import pytest

from tests.unit.pubsub.house import House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with House() as house:
        yield house
