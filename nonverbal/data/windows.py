"""Long clips in equal windows."""


def equal_windows(samples: int, longest: int | None) -> list[slice]:
    """Return the fewest equal windows of at most ``longest`` samples that a clip of ``samples`` samples is cut into.

    The first are a sample longer than the last where the samples do not divide. One window where ``longest`` is None.
    """
    count = 1 if longest is None else max(-(-samples // longest), 1)
    size, longer = divmod(samples, count)
    ends = [size * (i + 1) + min(i + 1, longer) for i in range(count)]
    return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
