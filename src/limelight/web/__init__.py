"""The page: look at a network's maps in a browser, point at them, compare; and an API for programs.

serving/    what stands in front: who may ask, how much, one after another; errors in two languages
subjects/   what is asked about: uploaded photos, networks, and a photo as a network saw it
answers/    what is answered: maps, probes, cells, checks, files, lines of code
routes/     which address asks for what
texts/      the words of the page, its errors and statuses, in English and Chinese
static/     the page itself: HTML, CSS and JavaScript, without anything from elsewhere
"""
