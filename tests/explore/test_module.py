"""What is carried inside pages and notebooks: one module without dependencies, one style that stays in its place."""

import re

from actlas.explore.module import module, style


def test_the_module_needs_no_other_and_has_what_every_home_calls():
    text = module()
    assert not re.search(r"^\s*import\s", text, re.MULTILINE)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    for name in ("mount", "enhance"):
        assert f"export function {name}(" in text
    assert "export default { render };" in text


def test_neither_ends_the_element_that_it_stands_in():
    assert not re.search("</script|<!--", module(), re.IGNORECASE)
    assert "<" not in style()


def test_the_style_touches_nothing_around_it():
    plain = re.sub(r"/\*.*?\*/", "", style(), flags=re.DOTALL)
    selectors = [one.strip() for head in re.findall(r"([^{}]+)\{", plain) for one in head.split(",") if "@" not in head]
    assert selectors
    assert all(".actlas" in one or not one for one in selectors), [one for one in selectors if ".actlas" not in one]
