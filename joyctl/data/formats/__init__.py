"""Token files of other tools, read where they lie: Megatron .bin/.idx, datatrove .ds, flat .npy and .bin."""

from joyctl.data.formats.facts import facts_of
from joyctl.data.formats.names import expand

__all__ = ["expand", "facts_of"]
