"""`python -m actlas` and the `actlas` command."""

from __future__ import annotations

import sys


def main() -> None:
    from actlas.cli import run
    from actlas.cli.signals import leave, stopping

    with stopping():
        status = run(sys.argv[1:])
    if status > 128:
        leave(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
