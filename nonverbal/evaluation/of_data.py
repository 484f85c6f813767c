"""Results that may be of other shards than results of the same name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from nonverbal.grouping import grouped


@dataclass(frozen=True, kw_only=True)
class OfData:
    """Results on clips of one folder of shards."""

    corpus: str
    data_sha256: str
    protocol: str
    other_data: bool = False
    """Whether there are results of the same corpora under the same protocol from other shards."""

    @property
    def which_data(self) -> str:
        """Text for titles that distinguishes it from results on other shards; empty if there are none."""
        return f", shards {self.data_sha256[:8]}" if self.other_data else ""


ResultOfData = TypeVar("ResultOfData", bound=OfData)


def told_apart_by_data(
    found: Sequence[ResultOfData], kind: Callable[[ResultOfData], Sequence[str]]
) -> list[ResultOfData]:
    """Mark each result for which another one has the same corpus, protocol and kind, but other shards."""

    def same(result: ResultOfData) -> tuple[str, ...]:
        return (result.corpus, result.protocol, *kind(result))

    several = {key for key, of in grouped(found, same).items() if len({result.data_sha256 for result in of}) > 1}
    return [replace(result, other_data=same(result) in several) for result in found]
