"""What a loss can ask of the teacher or the student: an open set.

`Output` and `Tap` are what most losses read; `Weights` and `Mask` are for the others.
Whatever else a forward pass holds, a subclass of `Signal` can ask for.
"""

from keras_kd.signals.base import Signal, Watched
from keras_kd.signals.layer_signal import LayerSignal
from keras_kd.signals.mask import Mask
from keras_kd.signals.output import Output
from keras_kd.signals.recording import Recording
from keras_kd.signals.tap import Tap
from keras_kd.signals.weights import Weights

__all__ = [
    "LayerSignal",
    "Mask",
    "Output",
    "Recording",
    "Signal",
    "Tap",
    "Watched",
    "Weights",
]
