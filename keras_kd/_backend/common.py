"""The part of the trainer that all three backends share."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import keras

# A mixin that stands before `keras.Model` among the bases of the Distiller.
if TYPE_CHECKING:
    from keras import Model as Trainer
else:
    Trainer = object


Frames = tuple[tuple[str, frozenset[str] | None], ...]


def tracing_frames(backend: str, *files: str) -> Frames:
    """List the frames under which a layer is called in a trace of its own.

    What is recorded there cannot be used outside of it.

    Args:
        backend: The name of the backend.
        *files: Ends of the names of the files whose functions start such a trace.

    Returns:
        Pairs of the end of a file's name and the names of functions, None for all.
    """
    control_flow = {"scan", "map", "while_loop", "fori_loop", "associative_scan"}
    control_flow |= {"vectorized_map", "cond", "switch"}
    return (
        ("keras/src/layers/rnn/rnn.py", frozenset({"step"})),
        (f"keras/src/backend/{backend}/rnn.py", None),
        (f"keras/src/backend/{backend}/core.py", frozenset(control_flow)),
        *((file, None) for file in files),
    )


class SharedTrainer(Trainer):
    """Opens a distillation step around the train and test step of Keras.

    The trainers of Keras stay in charge of gradients, loss scaling, distribution and
    compilation; their steps are called with the batch as it is. A subclass provides
    `on_first_batch`, `needs_first_batch`, `frozen_variables` and `open_step`.
    """

    def needs_first_batch(self) -> bool:
        """Say whether something still has to be built or checked on a real batch."""
        raise NotImplementedError

    def on_first_batch(self, batch: Any) -> None:
        """Build and check, given the first batch, before anything is compiled."""
        raise NotImplementedError

    def building(self) -> AbstractContextManager[None]:
        """Return the scope inside which Keras builds metrics and task loss."""
        raise NotImplementedError

    def frozen_variables(self) -> list[keras.Variable]:
        """List the variables that the step reads and that no step may change."""
        raise NotImplementedError

    def open_step(
        self,
        batch: Any,
        *,
        training: bool,
        step: Any,
        state: Iterable[tuple[keras.Variable, Any]],
    ) -> AbstractContextManager[Any]:
        """Return the scope of one step: `(batch, step, values of the variables)`."""
        raise NotImplementedError

    def _symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if self.needs_first_batch():
            if data_batch is None:
                data_batch = first_batch_of(iterator)
            self.on_first_batch(data_batch)
        with self.building():
            super()._symbolic_build(iterator, data_batch)


def first_batch_of(iterator: Any) -> Any:
    """Take one batch from a Keras epoch iterator, which the caller then resets."""
    for _, _, data in iterator:
        return data[0] if isinstance(data, (list, tuple)) else next(data)
    raise ValueError(
        "`x` must hold at least one batch. Received: a data set without any. Check "
        "that the generator or data set is not exhausted and not empty."
    )


def no_scope() -> Iterator[None]:
    """Yield once: the body of a scope that does nothing."""
    yield
