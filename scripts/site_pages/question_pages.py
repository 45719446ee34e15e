"""The page of questions that people ask: README's table, a section for each of its rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: Each page by its path in docs: the file with the table, the page's title, first sentences, and
#: the words around links to more and to those who asked.
_SOURCES = {
    "questions.md": (
        "README.md",
        "Questions that people ask",
        "Each of them was asked in the tracker of another library. The answers are limelight's. "
        "For the text of an error see [your error, your answer](errors.md).",
        "More: {}.",
        " Asked in {}.",
        ", ",
    ),
    "questions.zh.md": (
        "README.zh-CN.md",
        "常见问题",
        "每个问题都有人在别的库的问题区问过，这里是 limelight 的回答。"
        "按报错原文查找，见[您的错误，您的答案](errors.md)（英文）。",
        "更多：{}。",
        "提问见 {}。",
        "、",
    ),
}

#: The place of the table in both READMEs.
_SECTION = re.compile(r'(?:<a id="questions-that-people-ask"></a>\n\n## .*|## Questions that .*)\n')
_ROW = re.compile(r"^\| (?P<question>.+?) \| (?P<answer>.+?) \| (?P<more>.+?) \|$", re.MULTILINE)
_ASKED = re.compile(r" ?\((\[\d+\]\([^()]+\)(?:, )?)+\)")
_LINK = re.compile(r"\[\d+\]\((https://github\.com/[\w-]+/([\w-]+)/issues/(\d+))\)")


def pages() -> dict[str, str]:
    """Return the page in each language, by its path in docs."""
    return {path: _page(path) for path in _SOURCES}


def _page(path: str) -> str:
    source, title, first, more, asked, comma = _SOURCES[path]
    text = _SECTION.split((ROOT / source).read_text(encoding="utf-8"))[1].partition("\n#")[0]
    parts = [f"# {title}", first]
    for row in list(_ROW.finditer(text))[1:]:  # without the head
        links = comma.join(
            f"[{name} #{n}]({url})" for url, name, n in _LINK.findall(row["question"])
        )
        parts += [
            f"## {_ASKED.sub('', row['question'])}",
            _from_docs(row["answer"]),
            f"{more.format(_from_docs(row['more']))}{asked.format(links)}",
        ]
    return "\n\n".join(parts) + "\n"


def _from_docs(text: str) -> str:
    """Return a text of README with its links as a page of docs has them."""
    return re.sub(r"\]\((?!https?:)", "](../", text).replace("](../docs/", "](")
