"""A call of `extract_activations` that goes to another process as text, and what that process answers.

`python -m actlas.extract.parallel.worker` is that process on this machine; see `actlas.extract.child` for what it reads and
writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from actlas.extract.child import Command, Report, serve
from actlas.extract.inputs.tokens import tokenise
from actlas.extract.results import ExtractSummary, ProgressCallback
from actlas.extract.run.prepare import Request, Tokenise, run_here
from actlas.names import Checkpoint


@dataclass(frozen=True)
class RemoteRequest:
    """What `extract_activations` is asked, in names, numbers and paths."""

    models: tuple[str | Checkpoint, ...]
    corpus: str
    request: Request

    def with_options(self, **changes: Any) -> RemoteRequest:
        """The same with other options."""
        return replace(self, request=replace(self.request, options=replace(self.request.options, **changes)))

    def to_json(self) -> str:
        """One line of text."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> RemoteRequest:
        """What `to_json` wrote."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))

    def run(self, progress: ProgressCallback, tokenise: Tokenise = tokenise) -> ExtractSummary:
        """Do it in this process."""
        return run_here(self.models, self.corpus, self.request, progress, tokenise)


def summary_from(data: Mapping[str, Any]) -> ExtractSummary:
    """A summary from its JSON."""
    return msgspec.convert(data, ExtractSummary)


def merged(summaries: Sequence[ExtractSummary]) -> ExtractSummary:
    """What several processes did on one store, together: a checkpoint is extracted if one of them saw its last block."""
    results = []
    for same in zip(*(summary.checkpoints for summary in summaries), strict=True):
        # the process that finished it knows the loss; the status of one that shared it says less
        order = ("extracted", "there", "skipped", "shared")
        best = min(same, key=lambda result: order.index(result.status))
        n_texts = sum(result.n_texts for result in same)
        status = "extracted" if best.status == "there" and n_texts else best.status
        results.append(replace(best, status=status, n_texts=n_texts, seconds=max(result.seconds for result in same)))
    warnings = tuple(dict.fromkeys(line for summary in summaries for line in summary.warnings))
    return replace(summaries[0], checkpoints=tuple(results), warnings=warnings)


def main() -> None:
    """Serve requests, one after the other."""

    def commands(report: Report) -> dict[str, Command]:
        def run(request: str) -> dict[str, Any]:
            return asdict(RemoteRequest.from_json(request).run(lambda progress: report(asdict(progress))))

        return {"run": run}

    serve(commands)


if __name__ == "__main__":
    main()
