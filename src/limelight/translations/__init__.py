"""Sentences of the library in other languages than English: statuses, errors, reasons.

The library writes English. A sentence is found again among templates, as "There is no {kind} named
{given!r}. {hint}", and told by the template of the other language with the same values. So nothing
that raises an error has to know of languages, and names that a user gave stay as they are.

templates.py   one template: whether a sentence is it, and with which values
library.py     all templates of a language, and sentences made of several
zh.toml        the templates, English and Chinese
languages.py   the languages that pages are written in
"""
