"""The rules of a dialogue."""

import pytest

from domain.dialogue import Dialogue, Kind
from domain.errors import (
    DialogueClosedError,
    DialogueRecordedError,
    ReplyToUnknownMessageError,
)
from tests.scenario import DIALOGUE, NOON, closed, conveyed, given, message, opened


class TestOpen:
    def test_messages_are_conveyed_in_order_with_dense_sequences(self) -> None:
        first, second = message("one"), message("two")
        given(opened(), conveyed(message())).when(lambda d: d.convey([first, second], now=NOON)).then(
            conveyed(first, second)
        )

    def test_more_than_1000_messages_are_several_events(self) -> None:
        many = [message(number) for number in range(2001)]
        given(opened()).when(lambda d: d.convey(many, now=NOON)).then(
            conveyed(*many[:1000]), conveyed(*many[1000:2000]), conveyed(*many[2000:])
        )

    def test_a_reply_to_an_earlier_message_of_the_same_batch_is_accepted(self) -> None:
        answer = message("yes", in_reply_to=1)
        given(opened()).when(lambda d: d.convey([message(), answer], now=NOON)).then(conveyed(message(), answer))

    @pytest.mark.parametrize("in_reply_to", [0, -1, 2, 3])
    def test_a_reply_to_itself_a_later_or_no_message_is_refused(self, in_reply_to: int) -> None:
        refusal = (
            given(opened(), conveyed(message()))
            .when(lambda d: d.convey([message(in_reply_to=in_reply_to)], now=NOON))
            .refused(ReplyToUnknownMessageError)
        )
        assert isinstance(refusal, ReplyToUnknownMessageError)
        assert (refusal.dialogue, refusal.in_reply_to, refusal.sequence) == (DIALOGUE, in_reply_to, 2)

    def test_a_reply_may_name_a_message_that_waits_before_it(self) -> None:
        dialogue = given(opened()).dialogue
        dialogue.check([message(in_reply_to=3)], waiting=3)
        with pytest.raises(ReplyToUnknownMessageError):
            dialogue.check([message(in_reply_to=4)], waiting=3)

    def test_close_ends_it_with_the_reason(self) -> None:
        given(opened()).when(lambda d: d.close("done", now=NOON)).then(closed("done"))


class TestClosed:
    def test_nothing_more_is_said(self) -> None:
        given(opened(), closed("done")).when(lambda d: d.convey([message()], now=NOON)).refused(
            DialogueClosedError
        )

    def test_it_is_not_closed_again(self) -> None:
        given(opened(), closed("done")).when(lambda d: d.close("again", now=NOON)).refused(DialogueClosedError)


class TestRecorded:
    def test_history_is_whole_at_once(self) -> None:
        dialogue = Dialogue.record(DIALOGUE, "a run", {"reward": 1.0}, [message("a"), message("b")], now=NOON)
        first, second = dialogue.collect_events()
        assert isinstance(first, Dialogue.Opened)
        assert (first.kind, first.attributes) == (Kind.RECORDED, {"reward": 1.0})
        assert isinstance(second, Dialogue.Conveyed)
        assert [said.payload for said in second.messages] == ["a", "b"]

    def test_it_takes_no_more_messages_and_is_not_closed(self) -> None:
        history = opened(Kind.RECORDED)
        given(history).when(lambda d: d.convey([message()], now=NOON)).refused(DialogueRecordedError)
        given(history).when(lambda d: d.close("done", now=NOON)).refused(DialogueRecordedError)

    def test_a_reply_to_a_later_message_is_refused_in_history_too(self) -> None:
        with pytest.raises(ReplyToUnknownMessageError):
            Dialogue.record(DIALOGUE, "a run", {}, [message(in_reply_to=1)], now=NOON)
