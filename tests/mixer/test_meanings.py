"""What is remembered of labels, and for whom."""

from argosy.mixer.collect.meanings import Meanings
from argosy.mixer.collect.sender import Sender

WEB = Sender("shop", "spiffe://cluster.local/ns/shop/sa/web", "web")
DB = Sender("shop", "spiffe://cluster.local/ns/shop/sa/db", "db")


class Counting:
    """Works meanings out, and says how often."""

    def __init__(self, limit: int, share: int) -> None:
        self.worked = 0
        self.meanings = Meanings(self._work_out, limit, share)

    def _work_out(self, labels: tuple[str, ...], sender: Sender) -> str:
        self.worked += 1
        return f"{sender.workload}: {' '.join(labels)}"

    def ask(self, count: int, sender: Sender = WEB) -> int:
        """So many sets, in turn; how many had to be worked out."""
        before = self.worked
        for number in range(count):
            labels = ("number", str(number))
            found = self.meanings.of(labels, sender)
            assert found == f"{sender.workload}: number {number}"
        return self.worked - before


def test_each_set_is_worked_out_once_for_each_sender() -> None:
    counting = Counting(100, 50)
    assert (counting.ask(50), counting.ask(50, DB)) == (50, 50)
    assert (counting.ask(50), counting.ask(50, DB)) == (0, 0)


def test_some_more_than_there_is_room_for_cost_some_more() -> None:
    """In turn, round by round, as proxies send: the oldest would always be asked for next."""
    counting = Counting(100, 100)
    for _ in range(100):
        worked = counting.ask(120)
        assert len(counting.meanings) <= 100
    assert worked <= 20 + 2


def test_one_sender_takes_no_more_than_its_share() -> None:
    counting = Counting(100, 20)
    counting.ask(1000)
    assert len(counting.meanings) == 20
    counting.ask(20, DB)
    assert counting.ask(20, DB) == 0


def test_what_nobody_asks_for_any_more_makes_room() -> None:
    counting = Counting(100, 100)
    counting.ask(100)
    for _ in range(20):
        counting.ask(90, DB)
    assert len(counting.meanings) == 90
    assert counting.ask(90, DB) == 0
