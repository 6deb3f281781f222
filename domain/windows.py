"""Sliding windows over the outcomes of calls: the last so many, or those of the last so many seconds.

A window is a mutable Struct with running totals, told one call after the other, that can be stored as MessagePack
at any point. Taking a call in costs the same whatever the size; no call is looked at twice.
"""

import msgspec

__all__ = ["CountWindow", "TimeWindow", "Window"]


class CountWindow(msgspec.Struct, array_like=True, tag=1):
    """The last `size` calls.

    Attributes:
        calls, failures, slow: how many are in it, and how many of them failed or were slow; a call can be both.
        place: where the next call goes, from 0 to less than size; the oldest stands there once the window is full.
        latest: two bits a call, whether it failed (1) and whether it was slow (2), four calls to a byte.
    """

    size: int
    calls: int = 0
    failures: int = 0
    slow: int = 0
    place: int = 0
    latest: bytearray = msgspec.field(default_factory=bytearray)

    def add(self, failed: bool, slow: bool, at: int) -> None:
        del at  # of no matter here
        place = self.place
        byte = place >> 2
        shift = (place & 3) << 1
        outcome = failed | slow << 1
        if self.calls < self.size:
            self.calls += 1
            if shift:
                self.latest[byte] |= outcome << shift
            else:
                self.latest.append(outcome)
            self.failures += failed
            self.slow += slow
        else:
            oldest = self.latest[byte] >> shift & 3
            if oldest != outcome:  # most often they are equal
                self.latest[byte] ^= (oldest ^ outcome) << shift
                self.failures += failed - (oldest & 1)
                self.slow += slow - (oldest >> 1)
        place += 1
        self.place = place if place < self.size else 0


class TimeWindow(msgspec.Struct, array_like=True, tag=2):
    """The calls of the last `size` seconds, the one under way included.

    Seconds are those of the clock, not of the calls: what is said at 12:00:59.9 and 12:01:00.1 is in two of them.

    Attributes:
        calls, failures, slow: how many are in it, and how many of them failed or were slow; a call can be both.
        newest: the latest second that was told of, since 1970. Time that goes backwards counts as this one.
        seconds: calls, failures and slow ones of each second, a ring: second s stands at 3 (s modulo size).
    """

    size: int
    calls: int = 0
    failures: int = 0
    slow: int = 0
    newest: int = 0
    seconds: list[int] = msgspec.field(default_factory=list)

    def add(self, failed: bool, slow: bool, at: int) -> None:
        """`at`: when the call ended, ms since 1970."""
        second = at // 1000
        seconds = self.seconds
        if second > self.newest or not seconds:
            seconds = self._advance(second)
        place = self.newest % self.size * 3
        seconds[place] += 1
        self.calls += 1
        if failed:
            seconds[place + 1] += 1
            self.failures += 1
        if slow:
            seconds[place + 2] += 1
            self.slow += 1

    def _advance(self, second: int) -> list[int]:
        """Take out what is `size` seconds old by now."""
        seconds, size, newest = self.seconds, self.size, self.newest
        self.newest = second
        if not seconds or second - newest >= size:
            self.seconds = seconds = [0] * (3 * size)
            self.calls = self.failures = self.slow = 0
            return seconds
        while newest < second:
            newest += 1
            place = newest % size * 3
            if calls := seconds[place]:
                self.calls -= calls
                seconds[place] = 0
                if failures := seconds[place + 1]:
                    self.failures -= failures
                    seconds[place + 1] = 0
                if slow := seconds[place + 2]:
                    self.slow -= slow
                    seconds[place + 2] = 0
        return seconds


Window = CountWindow | TimeWindow
