"""What a stream of activations looks like, and how much of it survives quantization.

Values arrive in pieces of any size, in float64, and are forgotten; nothing here depends on where the stream is cut,
up to rounding.
"""

from math import inf, log10, nan, sqrt

import numpy as np
import torch
from torch import Tensor

from trainables.analyses.trained_pair import Row

# N = values of a piece, A = bins, B = examples.

QUANTILES = {"q01": 0.01, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q99": 0.99}
SAMPLE = 256
"""Values of every example that quantiles are taken of."""
SAMPLE_SEED = 0


class Distribution:
    """A histogram, extremes, moments and a sample of all values."""

    def __init__(self, *, low: float, high: float, num_bins: int, device: torch.device) -> None:
        """Starts with no values.

        Args:
            low: Where the first bin begins; at most 0.
            high: Where the last bin ends; at least 0.
            num_bins: A, of equal width; as in `numpy.histogram`, all but the last exclude their upper edge. A value
                counts as on an edge if it is within the rounding of float64, 1e-15 of the range.
            device: Of the values.
        """
        self.low, self.high, self.num_bins = low, high, num_bins
        self._count_A = torch.zeros(num_bins, dtype=torch.float64, device=device)
        self._pieces: list[Tensor] = []
        self._sample: list[Tensor] = []

    def add(self, values_N: Tensor) -> None:
        """Takes in some values, float64."""
        self._count_A += torch.histc(values_N, self.num_bins, self.low, self.high)
        mean = values_N.mean()
        deviation_N = values_N - mean
        square_N = deviation_N * deviation_N
        moments = [mean, square_N.sum(), (square_N * deviation_N).sum(), (square_N * square_N).sum()]
        # Kept on the device: reading numbers back after every piece would stall an accelerator.
        self._pieces.append(torch.stack([*values_N.aminmax(), mean.new_tensor(values_N.numel()), *moments]))

    def add_sample(self, x: Tensor) -> None:
        """Takes the same few values of every example, for the quantiles."""
        values_BN = x.flatten(1)
        if values_BN.shape[1] > SAMPLE:
            generator = torch.Generator().manual_seed(SAMPLE_SEED)
            positions = torch.randint(values_BN.shape[1], (SAMPLE,), generator=generator)
            values_BN = values_BN[:, positions.to(x.device)]
        self._sample.append(values_BN.flatten().cpu())

    def columns(self, suffix: str) -> Row:
        """Returns the columns of a table.

        Returns:
            counts (values in every bin), zero (share of all values in the bin that holds 0), outside (share of all
            values in no bin), min, max, mean, std (of the population), skewness, kurtosis (excess; both NaN where all
            values are equal), and q01, q25, q50, q75, q99 of a sample: 256 positions that are drawn once per size of
            an activation and are the same in every image, or all values where an image has no more. All with `_` and
            the suffix behind their names.
        """
        least, most, *_ = torch.stack(self._pieces).T
        num_values, mean, *central = self._merged_moments()
        zero_A = torch.histc(self._count_A.new_zeros(1), self.num_bins, self.low, self.high)
        variance = central[0] / num_values
        is_constant = variance == 0
        quantiles = np.quantile(torch.cat(self._sample).numpy(), list(QUANTILES.values()))
        columns: Row = {
            "counts": self._count_A.long().tolist(),
            "zero": self._count_A[zero_A.argmax()].item() / num_values,
            "outside": 1 - self._count_A.sum().item() / num_values,
            "min": least.min().item(),
            "max": most.max().item(),
            "mean": mean,
            "std": sqrt(variance),
            "skewness": nan if is_constant else central[1] / num_values / variance**1.5,
            "kurtosis": nan if is_constant else central[2] / num_values / variance**2 - 3,
        }
        columns |= dict(zip(QUANTILES, quantiles.tolist(), strict=True))
        return {f"{name}_{suffix}": value for name, value in columns.items()}

    def _merged_moments(self) -> tuple[float, ...]:
        """Returns count, mean and the sums of squared, cubed and fourth powers of deviations (Pebay 2008, eq. 2.1).

        Sums of powers of the values themselves would cancel to nothing where the mean is far from 0.
        """
        n, mean, m2, m3, m4 = 0.0, 0.0, 0.0, 0.0, 0.0
        for _, _, n_b, mean_b, m2_b, m3_b, m4_b in torch.stack(self._pieces).tolist():
            n_a, n = n, n + n_b
            delta = mean_b - mean
            step = delta / n
            m4 += m4_b + delta * step**3 * n_a * n_b * (n_a**2 - n_a * n_b + n_b**2)
            m4 += 6 * step**2 * (n_a**2 * m2_b + n_b**2 * m2) + 4 * step * (n_a * m3_b - n_b * m3)
            m3 += m3_b + delta * step**2 * n_a * n_b * (n_a - n_b) + 3 * step * (n_a * m2_b - n_b * m2)
            m2 += m2_b + delta * step * n_a * n_b
            mean += step * n_b
        return n, mean, m2, m3, m4


class Agreement:
    """How much two streams of values, one by one, are the same."""

    def __init__(self, device: torch.device) -> None:
        """Starts with no values."""
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, full_N: Tensor, quantized_N: Tensor) -> None:
        """Takes in some values, float64, before and after quantization."""
        error_N = full_N - quantized_N
        pairs = ((full_N, full_N), (quantized_N, quantized_N), (full_N, quantized_N), (error_N, error_N))
        self._sums += torch.stack([torch.dot(left_N, right_N) for left_N, right_N in pairs])

    def columns(self, suffix: str = "") -> Row:
        """Returns sqnr_db (signal to error, of all values together; infinite without error) and cosine."""
        signal, quantized, product, error = self._sums.tolist()
        length = sqrt(signal * quantized)
        ratio = signal / error if error else inf
        return {
            f"sqnr_db{suffix}": 10 * log10(ratio) if ratio else -inf,
            f"cosine{suffix}": product / length if length else nan,
        }
