"""A thread for pitch methods that cannot pause: libraries which compute a whole recording in one call."""

from concurrent.futures import ThreadPoolExecutor

from anivoice.stages.background import step_back

METHODS = ("harvest", "dio", "pm")


class HostThread(ThreadPoolExecutor):
    """One thread beside the engine's. harvest and dio let go of Python's lock while they compute, pm does not."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="anivoice-pitch", initializer=step_back)
