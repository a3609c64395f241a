"""What must hold of every world at its end, and what must hold all the time."""

from __future__ import annotations

from tests.sim.world import APP, World
from tocsin.domain.outcome import State
from tocsin.domain.task import Phase, Task


async def books_add_up(world: World, task: Task) -> list[str]:
    """Law 3: the three ledgers of a task, at any moment."""
    return (await world.ledger(task)).faults


async def has_ended(world: World, task: Task) -> list[str]:
    """An accepted task always ends."""
    now = await world.task(task.task_id)
    if now.phase is not Phase.DONE:
        depth = await world.store.depth()
        return [f"task {task.number} is {now.phase}, jobs left {depth}"]
    return []


async def duplicates_are_booked(world: World, task: Task) -> list[str]:
    """Law 2's oracle: who was served twice is in `repeated`, in doubt, or has two legs."""
    sets = await world.sets(task)
    excused = sets.repeated | sets.states[State.IN_DOUBT]
    twice = set((await _numbers(world, world.vendor.twice(task.task_id))).values())
    strangers = twice - set(excused)
    return [f"served twice without a word in the books: {sorted(strangers)}"] if strangers else []


async def sent_stands_in_the_log(world: World, task: Task) -> list[str]:
    """Booked sent by the vendor, and served by it, are the same devices; doubt covers the rest."""
    sets = await world.sets(task)
    served = set((await _numbers(world, world.vendor.tokens(task.task_id))).values())
    booked = set(sets.legs.get("apns", []))
    doubt = set(sets.states[State.IN_DOUBT])
    faults = []
    if booked - served:
        faults.append(f"booked sent, never served: {sorted(booked - served)}")
    if served - booked - doubt:
        faults.append(f"served, not booked: {sorted(served - booked - doubt)}")
    return faults


async def _numbers(world: World, tokens: set[str]) -> dict[str, int]:
    """Device numbers by token: `World.people` names tokens `token-<user>` and what follows."""
    numbers: dict[str, int] = {}
    for token in tokens:
        device = await world.store.device(APP, f"R-{token.split('-')[1]}")
        assert device is not None
        numbers[token] = device.number
    return numbers


async def everything(world: World, task: Task) -> list[str]:
    """All checks of a world that has come to rest."""
    return [
        *await books_add_up(world, task),
        *await has_ended(world, task),
        *await duplicates_are_booked(world, task),
        *await sent_stands_in_the_log(world, task),
    ]
