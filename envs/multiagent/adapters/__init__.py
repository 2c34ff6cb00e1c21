"""Games of others under Milepost's info contract, with spaces, seeds and snapshots."""

from .arena import textarena
from .contract import AECContract, ParallelContract, contract
from .foreign import Adapter, classic, mpe2, open_spiel

__all__ = ["AECContract", "Adapter", "ParallelContract", "classic", "contract", "mpe2", "open_spiel", "textarena"]
