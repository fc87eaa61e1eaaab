"""Taking policies over from the configuration while the broker runs, on SIGHUP."""

import logging
from collections.abc import Callable
from typing import Final, final

from broker.policies import changes, policy_table
from broker.settings import Settings, SettingsError
from extra.pubsub import Broker

__all__ = ["Reloading"]

logger: Final = logging.getLogger("broker")


@final
class Reloading:
    """What the settings are by now, and where they can be read anew."""

    def __init__(self, broker: Broker, settings: Settings, read: Callable[[], Settings]) -> None:
        self.broker = broker
        self.settings = settings
        self.read = read
        self.reloads = 0
        self.failures = 0

    def reload(self) -> bool:
        """Read the settings anew and let their policies hold; return whether that was done.

        What changed is logged. When anything in the settings is wrong, that is, and all stays as it was.
        Reads a small file: some milliseconds.
        """
        try:
            settings = self.read()
        except SettingsError as error:
            self.failures += 1
            for line in str(error).splitlines():
                logger.error("%s", line)
            logger.error("the configuration was not reloaded: the policies are what they were")
            return False
        lines = list(changes(self.settings, settings))
        self.broker.engine.set_policies(policy_table(settings))
        self.settings = settings
        self.reloads += 1
        logger.info("the configuration was reloaded: %s", "; ".join(lines) or "nothing has changed")
        return True
