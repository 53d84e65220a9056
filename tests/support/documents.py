"""Pages of the documentation as data: links, headings, code blocks, and the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown.extensions.toc import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

OPERATORS = ("|", "||", "&", "&&", ";", ">", "<")
OUTSIDE = re.compile(r"[a-z]+:|//")
"""The beginning of an address that is no file of ours."""


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        language: as the fence says; empty if it does not.
        text: its lines.
        mark: of a comment `<!-- test: mark -->` right above; empty if there is none.
    """

    language: str
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Page:
    """One page: what it links to, what can be linked to, and its code."""

    links: tuple[str, ...]
    anchors: frozenset[str]
    blocks: tuple[Block, ...]
    inline: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> Page:
        """Parse a Markdown file."""
        links, anchors, blocks, inline, mark = list[str](), list[str](), list[Block](), list[str](), ""
        tokens = MarkdownIt("commonmark").enable("table").parse(file.read_text(encoding="utf-8"))
        for at, token in enumerate(tokens):
            if token.type == "heading_open":
                anchors.append(slugify(_plain(tokens[at + 1]), "-"))
            if token.type == "fence":
                blocks.append(Block(token.info.strip(), token.content, mark))
            found = re.search(r"<!-- test: (\w+) -->", token.content) if token.type == "html_block" else None
            mark = found.group(1) if found else ""
            for each in token.children or ():
                target = each.attrs.get("href") or each.attrs.get("src")
                if target:
                    links.append(str(target))
                if each.type == "code_inline":
                    inline.append(each.content)
        return cls(tuple(links), frozenset(anchors), tuple(blocks), tuple(inline))

    @property
    def inner_links(self) -> list[tuple[str, str]]:
        """Links within the repository: path (empty: this page) and anchor."""
        found = [link.partition("#") for link in self.links if not OUTSIDE.match(link)]
        return [(path, anchor) for path, _, anchor in found]

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of every `collabplan` that a shell block, a service or a container would run."""
        shown = [block.text for block in self.blocks if block.language in ("", "sh", "bash", "ini", "dockerfile")]
        return [arguments for text in shown for line in shell_lines(text) for arguments in arguments_of(line)]


def shell_lines(text: str) -> list[str]:
    """The lines of a block, continued ones joined. If some begin with a prompt, the others are output."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or lines


def arguments_of(line: str) -> Iterator[list[str]]:
    """What each `collabplan` of a shell line is given."""
    if "collabplan" not in line or line.lstrip().startswith("#"):
        return
    if line.startswith("CMD ["):
        line = line[4:].translate({ord(each): " " for each in "[],"})
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for at in [at for at, word in enumerate(words) if _is_program(word)]:
        end = next((to for to in range(at, len(words)) if words[to] in OPERATORS), len(words))
        if words[at + 1 : end]:  # else a user of this name
            yield words[at + 1 : end]


def _is_program(word: str) -> bool:
    """`collabplan`, with a folder or a service's `ExecStart=` before it."""
    return word == "collabplan" or word.endswith("/bin/collabplan")


def _plain(heading: Token) -> str:
    return "".join(each.content for each in heading.children or () if each.type in ("text", "code_inline"))
