"""Equalization after every step of a training: an attacker who knows the repair (Nagel et al. 2019)."""

from torch import Tensor

from search_spaces.names import EqualizedBy
from trainables.assessment.channel_scan import channel_maxima
from trainables.models.equalization import Equalizer
from trainables.quant.student import QuantizedStudent


class EqualizedSteps:
    """Holds a student to what equalization leaves alone."""

    def __init__(self, student: QuantizedStudent, by: EqualizedBy) -> None:
        """Finds the links of a student, whose sites are at the outputs of layers where ranges are those of data."""
        self._student, self._by = student, by
        self._equalizer = Equalizer(student.model)
        self._images_BCHW: Tensor | None = None

    def see(self, images_BCHW: Tensor) -> None:
        """Takes the batch of the present step."""
        self._images_BCHW = images_BCHW

    def after_step(self) -> None:
        """Equalizes the student in place, by its weights or by its activations on the batch, in evaluation mode."""
        self._student.eval()
        self._equalizer.apply(self._maxima() if self._by == "data" else None)

    def _maxima(self) -> dict[int, Tensor]:
        assert self._images_BCHW is not None
        maxima = channel_maxima(self._student, [self._images_BCHW])
        return {site: maxima_BC.amax(0).to(self._images_BCHW.device) for site, maxima_BC in maxima.items()}
