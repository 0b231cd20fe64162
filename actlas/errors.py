"""The exceptions of actlas. Each is also the builtin that a caller would expect.

::

    ActlasError
    ├── StoreError
    │   ├── StoreNotFound        (FileNotFoundError)   no store at that path
    │   ├── FormatTooNew         (ValueError)          a later version of actlas wrote that store
    │   ├── CubeNotFound         (KeyError)            the store has no such cube
    │   ├── CheckpointNotFound   (KeyError)            the store has no such checkpoint
    │   ├── TableNotFound        (KeyError)            the question was never asked of this store
    │   ├── NameNotFound         (KeyError)            no such language, concept or statistic there
    │   ├── IndexNotFound        (IndexError)          no such layer, neuron or text there
    │   ├── StaleTable           (RuntimeError)        an answer outlived the scores it stands on
    │   ├── ScoresNotFound       (KeyError)            no scores yet
    │   ├── IncompleteCube       (RuntimeError)        its run did not commit
    │   ├── RecipeMismatch       (ValueError)          this run would not fit what the store holds
    │   ├── DamagedStore         (RuntimeError)        checksum or manifest disagrees with the bytes
    │   ├── DiskTooSmall         (OSError)             the run would not fit on the disk
    │   ├── StateTooLarge        (MemoryError)         states of that many neurons and concepts would not fit into memory
    │   └── ReadOnlyStore        (PermissionError)     a write through a store opened with mode "r"
    ├── CorpusError              (ValueError)          texts or labels that cannot be used
    ├── ScoreImportError         (ValueError)          scores from elsewhere that cannot be taken as they are
    ├── NeuronSetError           (ValueError)          a file of neuron sets that cannot be used
    ├── WordsError               (ValueError)          a table of words that cannot be used, or is too small
    ├── ExtractionError          (RuntimeError)
    │   ├── OptionError          (ValueError)          an option has no such value, or contradicts another
    │   ├── CapturePointNotFound (LookupError)         no module for that site in this model
    │   │   └── ModelNotSupported                      the module is there, but its values are not those of the site's neurons
    │   ├── FidelityError                              batched values differ from batch 1
    │   ├── SiteNotProved                              a tensor is not what the name of its site says
    │   ├── NotFiniteValues      (ArithmeticError)     NaN or infinity came out of the model
    │   ├── ModelNotLoaded       (OSError)             no such model, or not in safetensors
    │   └── ModelLoading                               a model that is not there yet
    ├── BackendUnavailable       (ImportError)         a named backend cannot run here
    ├── InterventionError        (ValueError)          a change of a running model that is refused
    │   ├── NeuronNotFound       (IndexError)          the model has no such neuron
    │   └── WeightsDiffer                              it was made for other weights than those of the model
    ├── KernelInputError         (ValueError)          arrays a kernel refuses
    └── QueryError               (ValueError)          SQL or a question that is refused
"""

from __future__ import annotations

import errno

from actlas.words import printable

#: What the system says when it has no more memory, threads or open files to give.
_SHORT = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})
#: How libraries say that there was no memory; a thread begins with some.
_NO_MEMORY = ("can't start new thread", "failed to map segment", "Cannot allocate memory", "Out of memory", "Out of Memory")


class ActlasError(Exception):
    """Base of every error that actlas raises on purpose; its text is one sentence for the user, in one printable line."""

    def __str__(self) -> str:
        # KeyError would print its argument's repr, quotes included; names in it may come from anywhere
        return printable(" ".join(str(part) for part in self.args))


class StoreError(ActlasError):
    """Something about a store on disk."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store at that path."""


class FormatTooNew(StoreError, ValueError):
    """The store was written by a later version of actlas, in a format that this one does not read."""


class CubeNotFound(StoreError, KeyError):
    """The store has no such cube."""


class CheckpointNotFound(StoreError, KeyError):
    """The store has no such checkpoint."""


class TableNotFound(StoreError, KeyError):
    """That table was not computed in this store yet."""


class NameNotFound(StoreError, KeyError):
    """A corpus or scores have no such language, concept or statistic."""


class IndexNotFound(StoreError, IndexError):
    """A cube has no such layer, neuron or text."""


class StaleTable(StoreError, RuntimeError):
    """A kept answer stands on scores or values that are no longer those of the store."""


class ScoresNotFound(StoreError, KeyError):
    """Neurons of this checkpoint were not scored yet."""


class IncompleteCube(StoreError, RuntimeError):
    """The run that writes this cube did not commit yet."""


class RecipeMismatch(StoreError, ValueError):
    """What this run would write does not belong with what the store holds."""


class DamagedStore(StoreError, RuntimeError):
    """Bytes on disk disagree with their checksum or their manifest."""


class DiskTooSmall(StoreError, OSError):
    """The run would not fit on the disk."""


class StateTooLarge(StoreError, MemoryError):
    """States of that many neurons and concepts would not fit into memory."""


class ReadOnlyStore(StoreError, PermissionError):
    """A write was asked of a store opened with mode 'r'."""


class CorpusError(ActlasError, ValueError):
    """Texts or labels that cannot be used as they are."""


class ScoreImportError(ActlasError, ValueError):
    """Scores from elsewhere that cannot be taken into a store as they are."""


class NeuronSetError(ActlasError, ValueError):
    """A file of neuron sets that cannot be used as it is."""


class WordsError(ActlasError, ValueError):
    """A table of words that cannot be used as it is, or has too few of them."""


class ExtractionError(ActlasError, RuntimeError):
    """A model could not be run as asked."""


class OptionError(ExtractionError, ValueError):
    """An option of a run has no such value, or contradicts another one."""


class CapturePointNotFound(ExtractionError, LookupError):
    """This model has no module known under that site."""


class ModelNotSupported(CapturePointNotFound):
    """A model whose sites cannot be read: experts, layers of different widths, neurons that ranks cannot share.

    A kind of `CapturePointNotFound`: no module, named by the table or by hand, would give one value per token and neuron.
    """


class FidelityError(ExtractionError):
    """Values out of batches differ from the same texts run alone."""


class SiteNotProved(ExtractionError):
    """What was read under the name of a site is not the tensor of that name."""


class NotFiniteValues(ExtractionError, ArithmeticError):
    """NaN or infinity came out of the model."""


class ModelNotLoaded(ExtractionError, OSError):
    """No such model, or its weights are not in safetensors."""


class ModelLoading(ExtractionError):
    """A model that is on its way: what was asked can be asked again."""


class BackendUnavailable(ActlasError, ImportError):
    """A backend that was named cannot run here; nothing falls back from it."""


class InterventionError(ActlasError, ValueError):
    """A change of a running model that is refused."""


class NeuronNotFound(InterventionError, IndexError):
    """A model has no such layer or neuron at a site."""


class WeightsDiffer(InterventionError):
    """A checkpoint or a frame of neurons is of other weights than the model at hand."""


class KernelInputError(ActlasError, ValueError):
    """Arrays that a kernel refuses."""


class QueryError(ActlasError, ValueError):
    """A question, or a piece of SQL, that is refused."""


def error_named(kind: str, message: str) -> ActlasError | None:
    """The error of another process by the name of its class; None if that is not one of ours.

    Example:
        >>> error_named("CorpusError", "no texts"), error_named("OSError", "disk full")
        (CorpusError('no texts'), None)
    """
    found = globals().get(kind)
    return found(message) if isinstance(found, type) and issubclass(found, ActlasError) else None


def is_no_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory for what was asked.

    Example:
        >>> is_no_memory(MemoryError()), is_no_memory(RuntimeError("can't start new thread")), is_no_memory(ValueError("no"))
        (True, True, False)
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(said in str(error) for said in _NO_MEMORY)


def raise_shortage(error: BaseException) -> None:
    """Raise an error again that is about what the system had to give just then: it says nothing of the file that was read.

    Raises:
        BaseException: The error itself, if there was no memory, no thread or no open file left.

    Example:
        >>> raise_shortage(FileNotFoundError("gone"))
        >>> raise_shortage(MemoryError("no memory left"))
        Traceback (most recent call last):
        MemoryError: no memory left
    """
    if is_no_memory(error) or getattr(error, "errno", None) in _SHORT:
        raise error
