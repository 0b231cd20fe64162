"""`python -m actlas` and the `actlas` command."""

from __future__ import annotations

import sys


def main() -> None:
    from actlas.cli import run
    from actlas.cli.signals import stopping

    with stopping():
        sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
