"""From texts to steered texts, on the demo's store: a notebook of marimo.

marimo edit docs/tutorial.py                   to read, run and change it
python docs/tutorial.py                        to run it and see nothing go wrong
marimo edit docs/tutorial.py -- --demo FOLDER  where `make demo` wrote somewhere else
"""

# ruff: noqa: B018  (a cell shows its last expression)

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="actlas: from texts to steered texts")


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    # From texts to steered texts

    A language model's neurons can be read like instruments: run the model over texts once, write down what every
    neuron did, and ask later which of them go up when a text is about *water*, and whether they do so in Spanish and
    in German alike. **actlas** keeps those values in a *store* and answers from it, without the model.

    This notebook walks from the texts to a causal test, on the store that `make demo` leaves: a small model, trained
    on five languages, with eight checkpoints of its training, and a control whose documents never mix languages.
    """)
    return


@app.cell
def _():
    from pathlib import Path

    import marimo as mo
    import polars as pl
    import polars.selectors as cs

    import actlas

    return Path, actlas, cs, mo, pl


@app.cell
def _(Path, mo):
    demo = Path(mo.cli_args().get("demo") or "demo-out")
    return (demo,)


@app.cell
def _(actlas, demo, mo):
    mo.stop(not (demo / "store.actlas").exists(), mo.md(f"There is no store in `{demo}` yet: run `make demo`, a few minutes."))
    store = actlas.open_store(demo / "store.actlas")
    last = store.checkpoints[-1]
    store.checkpoints
    return last, store


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 1. Texts

    A corpus is texts, each with its language, and *labels*: which texts are about which concept. Translations of one
    sentence have the same `parallel_id`. Everything in a store is a table, and `store.sql` asks any of them; it can
    only read.
    """)
    return


@app.cell
def _(store):
    store.sql("""
        SELECT language, count(*) AS n_texts, any_value(text ORDER BY text_id) AS the_first FROM texts
        GROUP BY language ORDER BY language
    """)
    return


@app.cell
def _(mo, store):
    names = store.corpus.concepts
    concept_choice = mo.ui.dropdown(names, value="water" if "water" in names else names[0], label="Concept")
    concept_choice
    return (concept_choice,)


@app.cell
def _(concept_choice, store):
    concept = concept_choice.value
    store.sql(
        """SELECT language, text FROM texts JOIN labels USING (text_id) WHERE concept = $concept AND is_concept
        QUALIFY row_number() OVER (PARTITION BY language ORDER BY text_id) = 1 ORDER BY language""",
        {"concept": concept},
    )
    return (concept,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 2. Experts

    An *expert* of a concept in a language is a neuron whose values tell the texts about the concept from the others:
    sort the texts by its value, and those about the concept come first. `ap`, average precision, says how well: 1 is
    perfect, and a neuron that knows nothing scores the share of texts that are about the concept.
    """)
    return


@app.cell
def _(actlas, concept, cs, last, store):
    best = actlas.top_experts(store, k=3, concepts=[concept], checkpoints=[last])
    best.select("language", "rank", "site", "layer", "neuron", cs.by_name("ap").round(3))
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 3. Do languages share them?

    *Overlap* is the share of experts that two languages have in common. A number like that means little alone:
    translations say the same, so even labels that mean nothing are shared a little. That is the `null`: the same
    measure after the labels were moved among the texts at random, translations together. What counts is how far the
    overlap, with its 95% interval (`low`, `high`), lies above it, and whether a control does the same.
    """)
    return


@app.cell
def _(actlas, cs, demo, store):
    over_training = """
        SELECT step, overlap, low, high, "null", overlap - "null" AS excess, p_value, chance FROM overlap_controls
        JOIN checkpoints USING (checkpoint, step) WHERE control IS NULL ORDER BY position
    """
    overlap = store.sql(over_training)
    of_control = actlas.open_store(demo / "control.actlas").sql(over_training)
    overlap.with_columns(cs.float().round(3))
    return of_control, overlap


@app.cell(hide_code=True)
def _(mo, of_control, overlap):
    _first, _last, _control = overlap.row(0, named=True), overlap.row(-1, named=True), of_control.row(-1, named=True)
    _is_shared = _last["low"] > _last["null"] and _last["p_value"] <= 0.05
    mo.md(
        f"At step {_first['step']} the overlap is {_first['overlap']:.1%}, beside a null of {_first['null']:.1%}; at step "
        f"{_last['step']} it is {_last['overlap']:.1%} beside {_last['null']:.1%} (p = {_last['p_value']:.2g}). "
        + ("Languages came to share their experts. " if _is_shared else "That languages share their experts is not shown. ")
        + f"In the control, whose documents stay in one language, it is {_control['overlap']:.1%} beside {_control['null']:.1%}."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 4. A shared neuron and its texts

    Which neurons are experts of the concept in the most languages? And what do they go up for? The texts with the
    highest values are read from the store, not from the model.
    """)
    return


@app.cell
def _(concept, last, store):
    shared = store.ask("shared_experts", checkpoint=last, concept=concept)
    shared.head(5)
    return (shared,)


@app.cell
def _(last, mo, shared, store):
    mo.stop(shared.is_empty(), mo.md("No neuron is an expert in two languages."))
    neuron = shared.row(0, named=True)
    store.ask("neuron_texts", checkpoint=last, site=neuron["site"], layer=neuron["layer"], neuron=neuron["neuron"], n=10)
    return (neuron,)


@app.cell
def _(concept, cs, neuron, pl, store):
    _course = store.ask("neuron_trajectory", site=neuron["site"], layer=neuron["layer"], neuron=neuron["neuron"])
    # a row per step, a column per language: since when does it know the concept?
    _course.filter(pl.col("concept") == concept).pivot("language", index="step", values="ap").with_columns(cs.float().round(3))
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 5. Back into the model

    So far everything was correlation. Now the experts of the concept in one language are *forced*, at every token, to
    what they do on texts about it, while the model writes. The same random numbers are drawn once more with nothing
    forced, and once with as many random neurons of the same layers: what the experts do has to be more than that.
    """)
    return


@app.cell
def _(actlas, concept, demo, last, store):
    from actlas.demo.corpus import concept_words
    from actlas.demo.settings import STEERED_LANGUAGE
    from actlas.intervene import Forcing, Sampling

    model = demo / "models" / "multi" / f"step{store.checkpoint(last)['step']}"
    texts = actlas.generate_steered(
        store,
        concepts=[concept],
        languages=[STEERED_LANGUAGE],
        checkpoints=[last],
        forcing=Forcing(k=50),
        arms=("none", "experts", "random"),
        seeds=24,
        sampling=Sampling(max_new_tokens=14),
        words={concept: concept_words(concept, store.corpus.languages)},
        model=model,
        device="cpu",
    )
    texts.pivot("arm", index="seed", values="text").head(6)
    return model, texts


@app.cell
def _(cs, pl, texts):
    rates = texts.group_by("arm", maintain_order=True).agg(pl.len().alias("n_texts"), pl.col("has_word").mean().alias("rate"))
    rates.with_columns(cs.float().round(3))
    return (rates,)


@app.cell(hide_code=True)
def _(concept, mo, rates):
    _of = dict(rates.select("arm", "rate").iter_rows())
    mo.md(
        f"A word for *{concept}* is in {_of['experts']:.0%} of the texts with its experts forced, in {_of['none']:.0%} with "
        f"nothing forced and in {_of['random']:.0%} with random neurons. That is one concept and few texts: `actlas steer` keeps "
        "all of them, with two more controls, and `concept_rate()` puts intervals around the differences."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 6. Look around

    The widget shows the same store in pictures and tables, each with its query: it begins at the neuron from above, and leads
    to the concepts, the languages and the checkpoints. *Tokens* beside a text shows at which of its tokens the neuron goes up,
    and a sentence of your own can be read, too: the model runs once for each.
    """)
    return


@app.cell
def _(actlas, concept, last, mo, model, neuron, store):
    _where = {"checkpoint": last, "concept": concept, **{name: neuron[name] for name in ("site", "layer", "neuron")}}
    widget = mo.ui.anywidget(actlas.Widget(store, "neuron", _where, height=700, model=model))
    widget
    return (widget,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Where to go on

    - `actlas report STORE --out report.html` draws all of this, with its nulls and its queries, into one file.
    - `docs/questions.md` lists what can be asked; `SHOW TABLES` and `DESCRIBE experts` say what is there.
    - `docs/overlap.md` and `docs/steering.md` say what the numbers mean, and what they do not.
    """)
    return


if __name__ == "__main__":
    app.run()
