from html.parser import HTMLParser

import pytest

import actlas
from actlas.report import Question, write_report

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what the tests look at; fails on tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.references = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(self.text)


@pytest.fixture(scope="module")
def report(shared_store, apart_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("html") / "deep" / "report.html"
    stores = {"model": shared_store, "control": apart_store.path}
    assert write_report(stores, path, title="A < B", about=["Two planted stores."]) == path
    return path


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else(report, page):
    text = report.read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)


def test_the_page_shows_figures_findings_answers_and_provenance(page, shared_store):
    assert page.tags.count("svg") == 3
    assert page.tags.count("h1") == 1
    for words in (
        "A < B",
        "Two planted stores.",
        "the intervals are apart, and experts are shared more in model",
        "Recipe, settings and seeds",
    ):
        assert words in page.words
    for checkpoint in shared_store.checkpoints:
        assert shared_store.checkpoint(checkpoint)["weight_hash"] in page.words
    assert "Not shown" not in page.words
    assert "Not answered" not in page.words


def test_overlap_is_told_with_its_nulls_interval_and_p_value(page):
    for words in (
        "Labels without meaning give",
        "where translations keep theirs together",
        "where each language has its own",
        "points above the first of these (p = 0.01 of 99 permutations)",
        "(95% interval",
        "of this ceiling.",
        "Bands: 95% interval over concepts.",
        "trained and tested on different texts, with C = 0.1; chance is 33%.",
        "null_independent",
        "corrected_ratio",
    ):
        assert words in page.words


def test_a_random_twin_is_shown_beside_its_model_and_is_no_step(twinned_store, tmp_path):
    page = Page(write_report({"model": twinned_store}, tmp_path / "r.html").read_text(encoding="utf-8"))
    for words in (
        "in its random-weights twin of planted-step128, seed 0 (",
        "experts are shared more in model.",
        "model: random-weights twins",
        "model: at step 128, 4 of 4 concepts are shared more than labels without meaning give, at a false discovery rate of 5%.",
        "planted-random0",
    ):
        assert words in page.words
    # of the last step, not of the twin behind it
    assert "of their neurons at step 128 (" in page.words
    assert "At the last checkpoint, which concepts share the most experts across languages?" in page.words


def test_the_same_stores_give_the_same_bytes(report, shared_store, apart_store, tmp_path):
    stores = {"model": shared_store, "control": apart_store}
    again = write_report(stores, tmp_path / "r.html", title="A < B", about=["Two planted stores."])
    assert again.read_bytes() == report.read_bytes()


def test_one_store_by_path(shared_store, tmp_path):
    page = Page(write_report(str(shared_store.path), tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Asked in SQL of shared" in page.words


def test_a_store_without_answers_says_what_to_run(bare_store, tmp_path):
    page = Page(write_report(bare_store, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "svg" not in page.tags
    for command in ("actlas overlap", "actlas probe", "actlas experts"):
        assert command in page.words
    assert "Not answered: table overlap was not computed yet" in page.words


def test_own_questions(shared_store, tmp_path):
    questions = [Question("How many texts?", "SELECT count(*) AS n FROM texts"), Question("Broken?", "SELECT nothing FROM texts")]
    page = Page(write_report(shared_store, tmp_path / "r.html", questions=questions).read_text(encoding="utf-8"))
    assert "How many texts?" in page.words
    assert "Not answered" in page.words


def test_no_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint to report on"):
        write_report({}, tmp_path / "r.html")


def test_the_public_name_is_this_function():
    assert actlas.write_report is write_report
