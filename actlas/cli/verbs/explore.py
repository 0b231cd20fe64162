"""`actlas explore`: stores in a browser, served from this machine to this machine."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import TYPE_CHECKING

from actlas.allowed import Count
from actlas.cli.arguments import named, number
from actlas.cli.output import say, tell
from actlas.cli.signals import Stopped
from actlas.cli.verbs.sql import add_limits, memory_of

if TYPE_CHECKING:
    from actlas.explore.server.access import Access


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the top parser."""
    explore = verbs.add_parser("explore", help="look at stores in a browser: every view an address, every table with its SQL")
    explore.add_argument("stores", nargs="+", type=named, metavar="STORE", help="its folder; LABEL=FOLDER names it")
    explore.add_argument("--host", type=named, default="127.0.0.1", help="listen on this address (default: this machine alone)")
    explore.add_argument("--port", type=number(Count), metavar="N", help="listen on this port (default: a free one near 8765)")
    explore.add_argument("--open", action="store_true", help="open a browser")
    explore.add_argument("--token", type=named, help="what those must know who ask (default: a random one)")
    explore.add_argument(
        "--model",
        type=named,
        help="let this model read texts token by token: a folder, a hub id, or auto for the one that a store names",
    )
    add_limits(explore)
    explore.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> int:
    from actlas.explore.server.serve import is_loopback, serve
    from actlas.explore.server.served import Limits

    if not is_loopback(options.host):
        tell(
            f"actlas: {options.host} is reached from other machines: who has the address with its token sees all of these stores"
        )

    def ready(access: Access) -> None:
        say(access.url)
        if not options.quiet:
            tell("Ctrl-C ends it")
        if options.open:
            threading.Thread(target=_open, args=(access.url,), daemon=True).start()

    limits = Limits(options.timeout, memory_of(options) // Limits.at_once, options.max_rows)
    try:
        serve(
            options.stores,
            host=options.host,
            port=options.port,
            token=options.token,
            limits=limits,
            model=options.model,
            ready=ready,
        )
    except KeyboardInterrupt as stop:
        # how this is ended: there is nothing to say
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    return 0


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        tell("actlas: no browser was found; open the address yourself")
