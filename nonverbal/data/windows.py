"""Divides long clips into equal windows."""


def equal_windows(samples: int, longest: int | None) -> list[slice]:
    """Return the fewest equal windows of at most ``longest`` samples that cover a clip of ``samples`` samples.

    If the samples do not divide equally, the first windows are one sample longer. If ``longest`` is None, there is one.
    """
    count = 1 if longest is None else max(-(-samples // longest), 1)
    size, longer = divmod(samples, count)
    ends = [size * (i + 1) + min(i + 1, longer) for i in range(count)]
    return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
