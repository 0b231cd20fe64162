"""Is a store what its records say?"""

from actlas.store.verify.whole import Verified, verify

__all__ = ["Verified", "verify"]
