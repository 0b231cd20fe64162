"""The files of the page have addresses that change with them, and nothing beside them is given."""

from __future__ import annotations

import re

import pytest

from actlas.errors import NameNotFound
from actlas.explore.server import front


def test_the_page_names_its_files_by_what_is_in_them() -> None:
    page = front.page().decode()
    assert set(re.findall(r'"(/front/[^"]+)"', page)) == {
        f"/front/{name}?v={front.file(name)[2]}" for name in ("actlas.js", "style.css")
    }
    assert not re.findall(r"https?://|<script>|<style", page)


@pytest.mark.parametrize("name", ["page.html", "../server/app.py", "", "actlas.JS", "."])
def test_nothing_else_is_given(name: str) -> None:
    with pytest.raises(NameNotFound, match=r"it has actlas\.js, style\.css"):
        front.file(name)
