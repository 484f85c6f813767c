"""Groups items in the order in which they are met."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], by: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the items by key: keys in the order of their first items, the items of a key in their original order."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups
