from tests.sim.checkers import everything
from tests.sim.world import World
from tocsin.domain.audience import Condition


async def test_a_push_to_everyone_reaches_every_device_once() -> None:
    world = await World().open()
    await world.people(500)
    world.hire()
    task = await world.push()
    await world.run(3)
    assert await everything(world, task) == []
    books = await world.ledger(task)
    assert books.states["sent"] == 500
    assert len(world.vendor.log) == 500
    await world.close()


async def test_a_push_by_tag_reaches_whoever_carries_it_when_the_call_is_answered() -> None:
    world = await World().open()
    names = await world.people(60)
    await world.tag(names[:20], "vip")
    await world.tag(names[10:30], "muted")
    world.hire()
    task = await world.push(Condition(tags_or=("vip",), tags_not=("muted",)))
    await world.run(2)
    await world.tag(names[40:], "vip")
    assert await everything(world, task) == []
    assert {item.token for item in world.vendor.log} == {f"token-{n}" for n in names[:10]}
    await world.close()
