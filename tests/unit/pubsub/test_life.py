import pytest

from extra.errors import BrokerClosed
from extra.pubsub.life import Life


def test_only_what_is_open_can_be_acted_for() -> None:
    life = Life()
    with pytest.raises(BrokerClosed):
        life.check()
    life.is_open = True
    life.check()
