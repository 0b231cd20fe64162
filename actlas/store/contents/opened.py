"""`Opened`: a store that was found and whose own record is whole; what there is in it is told by what builds on this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actlas.errors import DamagedStore, OptionError, ReadOnlyStore, StoreNotFound
from actlas.names import IMPORTED, Recipe, fingerprint
from actlas.store import layout
from actlas.store.committed import Logged
from actlas.store.contents.records import Records
from actlas.store.corpus.corpus import Corpus
from actlas.store.corpus.declared import Declared
from actlas.store.files.codecs import CODECS, Codec
from actlas.store.files.digests import FileRecord, check_file
from actlas.store.files.parquet import read_parquet
from actlas.store.files.shard_reader import open_array
from actlas.store.log import Log
from actlas.store.records import committed_in, read_about

if TYPE_CHECKING:
    import zarr


class Opened:
    """Path, recipe, corpus and records of a store.

    Args:
        path: Folder of the store.
        mode: As in `actlas.store.Store`.

    Raises:
        StoreNotFound: If there is no store at `path`.
        FormatTooNew: If a later version of actlas wrote it.
    """

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        if mode not in ("r", "a"):
            raise OptionError(f"mode {mode!r} is not known; 'r' reads, 'a' also keeps scores and tables")
        self.path = Path(path)
        self.mode = mode
        about = read_about(self.path)
        if about is None:
            if any(self.path.glob("manifests/*/begun.json")):
                raise DamagedStore(
                    f"{self.path / 'zarr.json'} is missing, or not that of a store, and there are checkpoints beside it"
                )
            raise StoreNotFound(f"no actlas store at {path}; make one with: actlas extract MODEL --corpus C --store {path}")
        self.about: dict[str, Any] = about
        self.recipe = _recipe(about, self.path)
        committed = committed_in(self.path, about)
        self.log: Log | None = committed.log if isinstance(committed, Logged) else None
        self._records = Records(committed, self.recipe.pooling)
        self._named: tuple[object, dict[str, FileRecord]] = (None, {})
        self._check_root()

    def _check_root(self) -> None:
        """Refuse a store whose own zarr.json is not the one that it was created with, or whose log is damaged."""
        if self.log is not None:
            for record in self.log.read().holds.get("store", ()):
                if record.path == "zarr.json":
                    check_file(self.path, record)

    @cached_property
    def corpus(self) -> Corpus:
        """Texts and labels; texts carry n_tokens. Of imported scores, only the names of languages and concepts."""
        if "declared" in self.about:
            return Corpus.without_texts(Declared.from_json(self.about["declared"]))
        texts, labels = (read_parquet(self.checked(self.path / name)) for name in (layout.TEXTS, layout.LABELS))
        return Corpus(texts, labels, self.about["corpus_fingerprint"])

    def checked(self, path: Path) -> Path:
        """A Parquet file of the store, compared with its record unless it has not changed since that was last done.

        Args:
            path: The file. One that no record names, as in stores of earlier versions, is taken as it is.

        Returns:
            The same path.

        Raises:
            DamagedStore: If the file is not what was committed.

        Example:
            >>> store.checked(store.path / "corpus/texts.parquet").name
            'texts.parquet'
        """
        if self.log is not None:
            state = self.log.read()
            if self._named[0] is not state:
                files = chain.from_iterable(state.holds.values())
                self._named = (state, {record.path: record for record in files if record.path.endswith(".parquet")})
            record = self._named[1].get(path.relative_to(self.path).as_posix())
            if record is not None:
                check_file(self.path, record)
        return path

    @property
    def codec(self) -> Codec:
        """How chunks are encoded."""
        if self.about["codec"] not in CODECS:
            known = ", ".join(CODECS)
            raise DamagedStore(f"{self.path / 'zarr.json'} names codec {self.about['codec']!r}; there are {known}")
        return CODECS[self.about["codec"]]

    @property
    def only_scores(self) -> str:
        """Why a question about values has no answer in a store of imported scores."""
        return only_scores(self.path)

    @property
    def is_imported(self) -> bool:
        """Whether its scores were computed elsewhere, so that it holds scores and nothing else."""
        return self.recipe.backend == IMPORTED

    def _refuse_read_only(self, what: str) -> None:
        if self.mode != "a":
            raise ReadOnlyStore(f"{self.path} is open read-only, {what} can not be kept; open it with mode='a'")

    def _array(self, path: str) -> zarr.Array[Any]:
        return open_array(self.path / path)

    def _check_group(self, files: Iterable[FileRecord], group: str) -> None:
        """Refuse a group whose metadata or coordinates are not those that were committed."""
        for file in files:
            if file.path.startswith(f"{group}/"):
                check_file(self.path, file)


def only_scores(store: object) -> str:
    """What a store of imported scores says to a question about values."""
    return f"{store} holds imported scores only, and no values of texts"


def _recipe(about: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe of a store, if its fingerprint is the one that was written beside it."""
    try:
        recipe = Recipe.from_json(about["recipe"])
        # of what was written, for a recipe of today may have fields that it has not
        written = fingerprint(about["recipe"])
        if (written, recipe.corpus) == (about["recipe_fingerprint"], about["corpus_fingerprint"]):
            return recipe
        why = f"its recipe has the fingerprint {written}"
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        why = f"its recipe cannot be read: {' '.join(str(error).split())}"
    raise DamagedStore(f"{path / 'zarr.json'} is not what was written: {why}")
