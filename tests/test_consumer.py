"""The rules of a consumer."""

import pytest

from domain.consumer import Consumer, Outcome, Result, consumer_id
from domain.errors import ConsumerLeftError
from domain.tract import Tract
from tests.scenario import DIALOGUE, NOON

ACKED = Outcome(DIALOGUE, 1, 1, Result.ACKED, waited=10, handled_in=20)


@pytest.fixture
def consumer() -> Consumer:
    joined = Consumer.join(Tract.EXTERNAL, "pytest", 2, now=NOON)
    assert [type(event).__name__ for event in joined.collect_events()] == ["Joined"]
    return joined


def test_its_id_is_of_its_tract_name_and_generation(consumer: Consumer) -> None:
    assert consumer.id == consumer_id(Tract.EXTERNAL, "pytest", 2)
    others = {consumer_id(Tract.EXTERNAL, "pytest", 3), consumer_id(Tract.INTERNAL, "pytest", 2)}
    assert consumer.id not in others
    assert len(others) == 2


def test_it_settles_many_deliveries_as_one_event(consumer: Consumer) -> None:
    consumer.settle([ACKED, ACKED], now=NOON)
    [settled] = consumer.collect_events()
    assert settled == Consumer.Settled(consumer.id, 2, NOON, [ACKED, ACKED])


def test_who_has_left_settles_nothing(consumer: Consumer) -> None:
    consumer.leave("done", now=NOON)
    assert [type(event).__name__ for event in consumer.collect_events()] == ["Left"]
    with pytest.raises(ConsumerLeftError):
        consumer.settle([ACKED], now=NOON)
    with pytest.raises(ConsumerLeftError):
        consumer.leave("again", now=NOON)
    assert consumer.collect_events() == []
