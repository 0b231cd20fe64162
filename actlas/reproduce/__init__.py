"""The analyses of two papers, asked of stores in SQL: figures, tables, and what becomes of each of the papers' findings.

`compression` and `spaces` say what is asked, `gather` asks it of stores, `verdicts` judges, `pages` writes a folder.
"""
