"""What keeps hosts from working, in words: for `queue` and for `status`."""

from collections.abc import Sequence

from normlab.cli.output import Item, ago, say, seconds_since

#: A host that has been silent for longer was removed or renamed.
_FORGOTTEN_SECONDS = 24 * 3600.0


def say_workers(workers: Sequence[Item] | None) -> None:
    """A line for each thing that is wrong with a host; nothing where all is well."""
    lines = [line for worker in workers or () for line in _lines(worker)]
    if lines:
        say()
    for line in lines:
        say(f"warning: {line}")


def _lines(worker: Item) -> Sequence[str]:
    if not worker["alive"]:
        # One that was stopped on purpose says so before it goes; one that is gone for good never does.
        if worker["draining"] or seconds_since(worker["seen_at"]) > _FORGOTTEN_SECONDS:
            return []
        return [f"host {worker['host']} has said nothing for {ago('seen_at')(worker)}"]
    return [f"host {worker['host']}: {problem}" for problem in worker["problems"]]
