"""The pages of the site that are written from the library's tables and source.

Each of `method_pages`, `metric_pages` and `error_pages` offers `pages()`, which returns the pages
by their path in docs, as Markdown.
"""
