"""A call of `extract_activations` that goes to another process as text, and what that process sends back.

`python -m actlas.extract.parallel.worker` reads one call from its standard input and writes lines of JSON: reports, then the
summary or the error. It ends when its standard input does, so nobody is left behind whatever becomes of the process that asked.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from actlas.errors import ActlasError, ExtractionError, error_named
from actlas.extract.inputs.tokens import tokenise
from actlas.extract.results import ExtractSummary, ProgressCallback
from actlas.extract.run.prepare import Request, Tokenise, run_here
from actlas.names import Checkpoint


@dataclass(frozen=True)
class Call:
    """What `extract_activations` is asked, in names, numbers and paths."""

    models: tuple[str | Checkpoint, ...]
    corpus: str
    request: Request

    def with_options(self, **changes: Any) -> Call:
        """The same with other options."""
        return replace(self, request=replace(self.request, options=replace(self.request.options, **changes)))

    def to_json(self) -> str:
        """One line of text."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> Call:
        """What `to_json` wrote."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))

    def run(self, progress: ProgressCallback, tokenise: Tokenise = tokenise) -> ExtractSummary:
        """Do it here."""
        return run_here(self.models, self.corpus, self.request, progress, tokenise)


def summary_from(data: Mapping[str, Any]) -> ExtractSummary:
    """A summary from its JSON."""
    return msgspec.convert(data, ExtractSummary)


def error_from(data: Mapping[str, str], where: str) -> ActlasError:
    """An error of another process, of the same class where it is one of ours."""
    kind, message = data["kind"], data["message"]
    return error_named(kind, message) or ExtractionError(f"{where} stopped with {kind}: {message}")


def merged(summaries: Sequence[ExtractSummary]) -> ExtractSummary:
    """What several processes did on one store, together: a checkpoint is extracted if one of them saw its last block."""
    results = []
    for same in zip(*(summary.checkpoints for summary in summaries), strict=True):
        # whoever finished it knows the loss; the status of one who only shared it says less
        order = ("extracted", "there", "skipped", "shared")
        best = min(same, key=lambda result: order.index(result.status))
        n_texts = sum(result.n_texts for result in same)
        status = "extracted" if best.status == "there" and n_texts else best.status
        results.append(replace(best, status=status, n_texts=n_texts, seconds=max(result.seconds for result in same)))
    warnings = tuple(dict.fromkeys(line for summary in summaries for line in summary.warnings))
    return replace(summaries[0], checkpoints=tuple(results), warnings=warnings)


def main() -> None:
    """Serve one call."""
    # the lines go where standard output was; whatever a library prints goes to standard error
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # Ctrl-C reaches every process of a terminal; who asked decides, and ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    call = Call.from_json(sys.stdin.readline())

    def end_with_the_caller() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_the_caller, daemon=True).start()

    def send(kind: str, data: Any) -> None:
        lines.write(json.dumps({kind: data}) + "\n")

    try:
        send("summary", asdict(call.run(lambda progress: send("progress", asdict(progress)))))
    except Exception as error:
        send("error", {"kind": type(error).__name__, "message": str(error)})
    lines.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
