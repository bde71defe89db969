"""Which windows of an image a convolution or a pooling sees, and which windows see a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Axis:
    """Positions along one axis that all see the same entries of a kernel.

    Parameters
    ----------
    start : int
        Where the first position's first entry lies; negative before the image.
    move : int
        From a position to the next.
    space : int
        From an entry to the next.
    taps : int
        Entries seen; with `first` and `step`, which of the kernel's they are.
    first, step : int
    to, stride : int
        The first position among the outputs, and how far it is to the next.
    outputs : int
        Number of positions.
    """

    start: int
    move: int
    space: int
    taps: int
    first: int
    step: int
    to: int
    stride: int
    outputs: int

    def last(self) -> int:
        """Return where the last position's last entry lies."""
        return self.start + (self.outputs - 1) * self.move + (self.taps - 1) * self.space

    def numbers(self) -> tuple[int, ...]:
        """Return all of them in order."""
        return (self.start, self.move, self.space, self.taps, self.first, self.step, self.to, self.stride, self.outputs)


@dataclass(frozen=True)
class Windows:
    """Windows of an image; all pairs are (vertical, horizontal).

    Parameters
    ----------
    size : pair
        Height and width of the image.
    kernel, stride, dilation : pair
    before : pair
        Zeros above and to the left of the image.
    output : pair
        Numbers of windows.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    output: Pair

    @property
    def trivial(self) -> bool:
        """Whether the windows are the pixels in their order."""
        return self.kernel == (1, 1) == self.stride and self.before == (0, 0) and self.size == self.output

    def axes(self) -> tuple[list[Axis], list[Axis]]:
        """Return the positions of the outputs along each axis."""
        return self._axes(0), self._axes(1)

    def transposed_axes(self) -> tuple[list[Axis], list[Axis]]:
        """Return, along each axis, the pixels of the image as positions that see outputs: a list for each stride's phase."""
        return self._transposed(0), self._transposed(1)

    def _axes(self, k: int) -> list[Axis]:
        return [
            Axis(-self.before[k], self.stride[k], self.dilation[k], self.kernel[k], 0, 1, 0, 1, self.output[k])
        ]

    def _transposed(self, k: int) -> list[Axis]:
        found = []
        stride, dilation, size = self.stride[k], self.dilation[k], self.size[k]
        for phase in range(min(stride, size)):
            pixels = -(-(size - phase) // stride)
            at = phase + self.before[k]  # the output at `at` less the entry's shift, over the stride
            taps = [j for j in range(self.kernel[k]) if (at - j * dilation) % stride == 0][::-1]
            step = taps[1] - taps[0] if len(taps) > 1 else 0
            start = (at - taps[0] * dilation) // stride if taps else 0
            space, first = -step * dilation // stride, taps[0] if taps else 0
            found.append(Axis(start, 1, space, len(taps), first, step, phase, stride, pixels))
        return found

    def overlaps(self) -> Iterator[tuple[Pair, tuple[slice, slice], tuple[slice, slice]]]:
        """Yield each entry of the kernel with the outputs whose entry lies in the image, and the pixels that it meets."""
        for ky in range(self.kernel[0]):
            for kx in range(self.kernel[1]):
                spans = [self._overlap(axis, k) for axis, k in enumerate((ky, kx))]
                yield (ky, kx), (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])

    def _overlap(self, axis: int, k: int) -> tuple[slice, slice]:
        shift, stride = k * self.dilation[axis] - self.before[axis], self.stride[axis]
        low = max(0, -(shift // stride))
        stop = max(low, min(self.output[axis], (self.size[axis] - 1 - shift) // stride + 1))
        begin = low * stride + shift
        return slice(low, stop), slice(begin, begin + (stop - low - 1) * stride + 1 if stop > low else begin, stride)
