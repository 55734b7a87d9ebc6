"""What is counted on the way, from many threads."""

from collections import Counter
from threading import Lock


class Counts:
    """Numbers by name, and the sentences about what must never happen."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: Counter[str] = Counter()
        self.wrongs: list[str] = []

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._numbers[name] += count

    def wrong(self, sentence: str) -> None:
        """Something happened that must not: the run fails, and says this."""
        with self._lock:
            self.wrongs.append(sentence)

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._numbers[name]

    def beginning(self, prefix: str) -> dict[str, int]:
        """Those whose names begin so, without the beginning, the largest first."""
        with self._lock:
            found = self._numbers.most_common()
        return {name.removeprefix(prefix): n for name, n in found if name.startswith(prefix)}
