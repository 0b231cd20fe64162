import json
import re
from html.parser import HTMLParser

import pytest

import actlas
from actlas.report import Question, write_report
from tests.report.hostile import HOSTILE, hostile_report

VOID = {"meta", "wbr", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what the tests look at; fails on tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.references, self.headings, self.attributes = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(self.text)


def inlined(text):
    """Figure -> what its script would draw it from."""
    figure = re.compile(r'<figure data-actlas="([^"]*)">.*?<script type="application/json">(.*?)</script></figure>', re.DOTALL)
    return {name: json.loads(data) for name, data in figure.findall(text)}


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
    text = report.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert len(text) < 2_000_000
    for word in ("http:", "https:", "@import", "import("):
        assert word not in text
    assert "url(" not in text.replace("url(#", "").replace("url()", "")
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"link", "iframe", "img", "object", "form"} & set(page.tags)
    # what runs is named by its hash; nothing else can
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    scripts = [kind for tag, name, kind in page.attributes if tag == "script" and name == "type"]
    assert len(scripts) == page.tags.count("script")
    assert set(scripts) <= {"application/json", "module"}


def test_the_page_shows_figures_findings_answers_and_provenance(page, shared_store):
    assert page.tags.count("svg") >= 7
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
    assert "Not shown: table overlap_tests_by_concept was not computed yet: actlas overlap shared.actlas" in page.words
    assert page.words.count("Not shown") == 1


def test_the_page_is_read_by_keys_and_aloud(page):
    for tag in ("header", "nav", "main"):
        assert page.tags.count(tag) == 1
    # one level down at a time
    assert page.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.attributes.count(("svg", "role", "img")) == page.tags.count("svg") == page.tags.count("desc")
    assert page.attributes.count(("th", "scope", "col")) == page.tags.count("th")
    named = [value for _, name, value in page.attributes if name == "id"]
    assert len(named) == len(set(named))
    pointed = [value for _, name, value in page.attributes if name == "aria-labelledby" for value in value.split()]
    assert set(pointed) <= set(named)


def test_every_figure_carries_its_numbers_and_its_query(report, shared_store, apart_store):
    figures = inlined(report.read_text(encoding="utf-8"))
    assert {"overlap", "ratio", "pairs", "probe-language", "places-1", "places-2", "steering", "generations-1"} <= set(figures)
    for name, figure in figures.items():
        answer = figure["answer"]
        asked = {"1": [shared_store], "2": [apart_store]}.get(name[-1], [shared_store, apart_store])
        if name.startswith("question"):
            asked = [shared_store]
        rows = [row for store in asked for row in store.sql(figure["sql"]).rows()]
        assert answer["n_rows"] == len(rows)
        columns = [one["name"] for one in answer["columns"]]
        given = [row[1:] if columns[0] == "store" else row for row in zip(*answer["values"], strict=True)]
        assert json.loads(json.dumps(given)) == json.loads(json.dumps(rows))


def test_overlap_is_told_with_its_nulls_interval_and_p_value(page):
    for words in (
        "Labels without meaning give",
        "where translations keep theirs together",
        "where each language has its own",
        "points above the first of these (p = 0.01 of 99 permutations)",
        "(95% interval",
        "of this ceiling.",
        "Band: 95% interval over concepts.",
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
        "Random-weights twins",
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
    assert "What is not shown" in page.words
    for command in ("actlas overlap", "actlas probe", "actlas experts"):
        assert command in page.words
    assert "Not shown: table overlap was not computed yet: actlas overlap" in page.words
    assert "actlas steer bare.actlas --concept CONCEPT --language LANGUAGE" in page.words


def test_own_questions(shared_store, tmp_path):
    questions = [Question("How many texts?", "SELECT count(*) AS n FROM texts"), Question("Broken?", "SELECT nothing FROM texts")]
    page = Page(write_report(shared_store, tmp_path / "r.html", questions=questions).read_text(encoding="utf-8"))
    assert "How many texts?" in page.words
    assert "Not shown: Referenced column" in page.words


def test_no_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint to report on"):
        write_report({}, tmp_path / "r.html")


def test_the_public_name_is_this_function():
    assert actlas.write_report is write_report


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    return hostile_report(tmp_path_factory.mktemp("hostile")).read_text(encoding="utf-8")


def test_hostile_texts_stay_texts(hostile_page):
    page = Page(hostile_page)
    assert not {"img", "link", "iframe"} & set(page.tags)
    assert {kind for tag, name, kind in page.attributes if tag == "script" and name == "type"} <= {"application/json", "module"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script> 0" in page.words
    assert "&lt;script&gt;alert(4)&lt;/script&gt; 3" in page.words


def test_what_hostile_texts_would_do_unseen_is_seen(hostile_page):
    shown = re.sub(r'<script type="(application/json|module)">.*?</script>', "", hostile_page, flags=re.DOTALL)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", shown)
    assert "\\x1b[2J" in shown
    assert "\\u202egnp.exe" in shown


def test_hostile_texts_come_back_whole_from_what_is_inlined(hostile_page):
    figures = inlined(hostile_page)
    texts = figures["question-1"]["answer"]["values"][0]
    assert texts[: len(HOSTILE)] == [f"{text} {at}" for at, text in enumerate(HOSTILE)]
    assert hostile_page.count("</script>") == len(figures) + 1
