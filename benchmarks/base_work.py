"""Counts the floating-point operations of the forward pass of wav2vec 2.0 base."""

WIDTHS, STRIDES, CHANNELS = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 512


def forward_work(samples: int) -> tuple[float, float]:
    """Return the operations of the convolutions, and those of the matrix products, for a row of this many samples."""
    convolutions, channels = 0.0, 1
    for width, stride in zip(WIDTHS, STRIDES, strict=True):
        samples = (samples - width) // stride + 1
        convolutions += 2 * samples * CHANNELS * channels * width
        channels = CHANNELS
    frames = samples
    # The convolution that encodes positions, in 16 groups.
    convolutions += 2 * frames * 768 * (768 // 16) * 128
    # Projections and feed-forward layers of 12 blocks, and the two products of attention.
    products = 12 * 2 * frames * (4 * 768**2 + 2 * 768 * 3072) + 12 * 2 * 2 * frames**2 * 768
    return convolutions, products
