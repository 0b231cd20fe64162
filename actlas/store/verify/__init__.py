"""Is a store what its records say?"""

from actlas.store.verify.repair import Repaired, repair
from actlas.store.verify.whole import Verified, verify

__all__ = ["Repaired", "Verified", "repair", "verify"]
