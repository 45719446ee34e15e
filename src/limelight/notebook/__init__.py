"""What a notebook shows of results: HTML that asks for nothing else, and small pictures.

Made of pictures, numbers and words alone: nothing here knows a result, a map or a model. The HTML
holds no script, so that the viewers of GitHub and VS Code show it. Where they take out its style as
well, plain pictures, tables and words are left.
"""

from limelight.notebook.encoding import MOST_HTML, MOST_PNG, MOST_PNG_ALONE
from limelight.notebook.maps import MapPanel, MapsView, MapTile, maps_html
from limelight.notebook.pictures import pictures_html, small_png
from limelight.notebook.tables import Table, TablesView, tables_html

__all__ = [
    "MOST_HTML",
    "MOST_PNG",
    "MOST_PNG_ALONE",
    "MapPanel",
    "MapTile",
    "MapsView",
    "Table",
    "TablesView",
    "maps_html",
    "pictures_html",
    "small_png",
    "tables_html",
]
