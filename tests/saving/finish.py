"""Run as a program: finish a training that another process has saved.

python -m tests.saving.finish distiller.keras state.npz
"""

import sys

import numpy as np
from keras.saving import load_model

from tests.saving import runs

distiller = load_model(sys.argv[1])
runs.fit(distiller, start=runs.STOP)
np.savez(sys.argv[2], **runs.state_of(distiller))
