"""What a run tells others of its epochs: the protocol, how rank 0 calls, and what there is to call."""

from paralift.training.callbacks.calls import Calls, check_callbacks
from paralift.training.callbacks.csv_file import CSV
from paralift.training.callbacks.protocol import Callback
from paralift.training.callbacks.tensorboard import TensorBoard

__all__ = ["CSV", "Callback", "Calls", "TensorBoard", "check_callbacks"]
