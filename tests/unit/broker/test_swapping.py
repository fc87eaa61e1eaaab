"""Swapping services beside the broker, without files that change: that is for tests/e2e."""

from pathlib import Path

import pytest

from broker.settings import ServerSettings, Settings
from broker.swapping import check_reloading, swapped
from extra import Service, Services
from extra.commands.loading import LoadError, host
from extra.pubsub import Broker


def settings(app: str = "a:b", dirs: tuple[str, ...] = ()) -> Settings:
    return Settings(server=ServerSettings(app=app, reload=True, reload_dirs=dirs))


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_reloading(Settings())
    check_reloading(settings(dirs=(str(tmp_path),)))
    with pytest.raises(LoadError, match=r"server\.app"):
        check_reloading(settings(app=""))
    with pytest.raises(LoadError, match=r"server\.reload_dirs: .*nowhere"):
        check_reloading(settings(dirs=("/nowhere",)))
    monkeypatch.setattr("broker.swapping.find_spec", lambda name: None)
    with pytest.raises(LoadError, match="needs watchfiles"):
        check_reloading(settings())


async def test_services_are_put_on_the_broker() -> None:
    async with Broker() as broker:
        services = Services(Service)
        loaded, watching = swapped(host(services), broker, settings())
        watching.close()
        async with loaded.life:
            assert services.broker is broker
