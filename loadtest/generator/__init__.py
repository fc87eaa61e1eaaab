"""The load: processes that subscribe, publish and check, and know as little of protocols as they can."""
