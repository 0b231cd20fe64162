"""Is a store what its records say?"""

from actlas.store.integrity.repair import Repaired, repair
from actlas.store.integrity.whole import Verified, verify

__all__ = ["Repaired", "Verified", "repair", "verify"]
