"""Callbacks that watch a training: what flows through the layers, and the first value that is not finite.

They are Lightning callbacks, for any LightningModule. In a configuration they stand under `callbacks`:

    callbacks:
      - class_path: WatchLayers
        init_args: {every_n_steps: 100}
      - class_path: StopAtNonFinite
"""

from superpose.train.watching.layers import WatchLayers as WatchLayers
from superpose.train.watching.search import Finding as Finding
from superpose.train.watching.search import NonFiniteError as NonFiniteError
from superpose.train.watching.search import find_nonfinite as find_nonfinite
from superpose.train.watching.stop import StopAtNonFinite as StopAtNonFinite
