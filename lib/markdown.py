"""Markdown from Claude: where a long one is cut, and how it looks in Telegram.

Telegram is given a text and a list of entities, never a parse_mode: there is nothing left for it to parse, and so
nothing it could refuse as badly formed. The work is done by telegramify-markdown; what it would lose or show badly is
rewritten before, and what it gives back is checked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyromark
from telegramify_markdown import MessageEntity, RenderConfig, convert
from telegramify_markdown.converter import STANDARD_OPTIONS

from lib import log
from lib.text import LONGEST, SEAMS, head, split, units

NARROW = 32  # signs of a fixed-width font that fit side by side on a phone
MOST_ENTITIES = 100  # Telegram looks at no more in one message
MOST_ROUNDS = 30  # of rewriting, for one piece
LINK = re.compile(r"(https?|tg|ton)://\S+", re.IGNORECASE)
LANGUAGE = re.compile(r"[\w+#.-]{1,32}")
MATH = re.compile(r"[\\^_=]")
NUMBER = re.compile(rb"\s*(\d{1,9})(?=[.)])")
PIPE = re.compile(rb"(?<!\\)\|")
FENCE = re.compile(r"`{3,}|~{3,}")

LOOK = RenderConfig.isolated()
vars(LOOK.markdown_symbol).update({f"heading_level_{level}": "" for level in range(1, 7)})
vars(LOOK.markdown_symbol).update(task_completed="☑", task_uncompleted="☐", unordered_list_item="•", image="🖼 ")
LOOK.cite_expandable = False

Event = tuple[Any, dict[str, int]]
Edit = tuple[int, int, str]  # from byte, to byte, what stands there instead


# Cutting


@dataclass(frozen=True)
class _Block:
    """Something that must be opened again behind a cut: fenced code, or a table. Places are indexes into the text."""

    start: int
    end: int
    opener: str  # what a piece that begins inside starts with
    closer: str  # what a piece that ends inside ends with
    open: bool  # it goes on, or may, where the text ends
    indented: bool = False  # code without a fence


def pieces(markdown: str, longest: int = LONGEST) -> list[str]:
    """The Markdown as pieces that each fit into a message, as they are and as they are shown: 1 to `longest` UTF-16
    units. A code block that is cut is closed and opened again, a table gets its head again. No piece is blank; a blank
    text gives none."""
    text = markdown.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    try:
        return list(_pieces(text, longest))
    except Exception as exc:
        log.warning("markdown_not_cut", "Markdown could not be read; it is cut like any text.", exc, private=True)
        return split(text, longest)


def _pieces(rest: str, longest: int) -> Iterator[str]:
    while rest.strip():
        limit = longest
        for _ in range(4):  # what is shown can be longer than what was written: a table, above all
            piece, left = _cut(rest, limit)
            shown = _shown_units(piece)
            if shown <= longest:
                break
            limit = max(limit * longest // shown * 9 // 10, longest // 8, 1)
        if piece.strip():
            yield piece
        rest = left


def _cut(rest: str, limit: int) -> tuple[str, str]:
    """The first piece of at most `limit` units, and what is left."""
    if units(rest) <= limit:
        return rest.rstrip(), ""
    start = head(rest, limit)
    blocks = _blocks(start)
    block = blocks[-1] if blocks and blocks[-1].open else None
    if block and start[: block.start].strip() and (block.start > len(start) // 2 or _ends(rest[block.start :], limit)):
        return start[: block.start].rstrip(), _outdented(rest[block.start :])
    if block:
        return _cut_inside(rest, block, limit)
    at = _seam(start, blocks)
    return start[:at].rstrip(), _outdented(rest[at:].lstrip("\n"))


def _cut_inside(rest: str, block: _Block, limit: int) -> tuple[str, str]:
    """Cut in a block that goes on, between two of its lines if possible."""
    opener, closer = block.opener, block.closer
    if units(opener) + units(closer) > limit // 2:
        opener = closer = ""
    start = head(rest, limit - units(closer)) or rest[:1]
    lowest = max(block.start + len(opener) + 1, len(start) // 2)
    seams = [found for seam in ("\n\n", "\n") if (found := start.rfind(seam, lowest)) >= 0]
    at = seams[0] + 1 if seams else len(start)
    left = rest[at:].lstrip("\n")
    if not block.indented:
        left = _outdented(opener + left)
    if len(left) >= len(rest):  # no way forward with the opener
        left = rest[at:]
    if opener and (first := next(iter(_blocks(head(left, limit))), None)) and not first.open:
        inside = left[len(opener) : first.end].strip()
        if closer and (not inside or inside == closer.strip()):  # nothing but the end of the block was left
            left = left[first.end :].lstrip("\n")
    return start[:at].rstrip() + closer, left


def _ends(text: str, limit: int) -> bool:
    """Whether the block with which the text begins fits into one message."""
    blocks = _blocks(start := head(text, limit))
    return bool(blocks) and (not blocks[0].open or start == text)


def _seam(start: str, blocks: list[_Block]) -> int:
    """Where to cut outside of all blocks: in the second half, between paragraphs, lines, sentences, words."""
    lowest = len(start) // 2
    taken = [(block.start, block.end) for block in blocks]
    inline = [*taken, *_inline(start)]
    edges = [edge for span in taken for edge in span if edge > lowest]
    for spans, seams in ((taken, SEAMS[:2]), (inline, SEAMS), (taken, SEAMS)):
        for seam in seams:
            places = [found.end() for found in re.finditer(re.escape(seam), start) if found.start() >= lowest]
            free = [at for at in places if not any(first < at < last for first, last in spans)]
            free += edges if seam == "\n\n" else []
            if free:
                return max(free)
    return len(start)


def _blocks(text: str) -> list[_Block]:
    """The code blocks and tables of the text, in order."""
    data, found = text.encode("utf-8", "replace"), []
    for kind, place in _events(text):
        tag = kind.get("Start") if isinstance(kind, dict) else None
        if isinstance(tag, dict) and ("CodeBlock" in tag or "Table" in tag):
            begin, end = (len(data[: place[side]].decode()) for side in ("start", "end"))
            line = text.rfind("\n", 0, begin) + 1
            found.append(_block(text, line, begin, end, code="CodeBlock" in tag))
    return found


def _block(text: str, line: int, begin: int, end: int, code: bool) -> _Block:
    """A block that begins at `begin`, in the line that starts at `line`."""
    margin = _margin(text[line:begin])
    first, *others = text[begin:end].rstrip("\n").split("\n")
    to_the_end = not text[end:].strip()
    fence = FENCE.match(first)
    if not code:
        opener = "".join(f"{row}\n" for row in (margin + first, *others[:1]))
        return _Block(line, end, opener, "", to_the_end)
    if fence is None:
        return _Block(line, end, "", "", to_the_end, indented=True)
    last = others[-1].lstrip("> \t").rstrip() if others else ""
    closed = len(last) >= len(fence[0]) and set(last) == {fence[0][0]}
    return _Block(line, end, f"{margin}{first}\n", f"\n{margin}{fence[0]}", to_the_end and not closed)


def _margin(before: str) -> str:
    """What stands before a line inside the same list items and quotes: their markers only count for the first line."""
    return re.sub(r"[^>\s]", " ", before)


def _inline(text: str) -> Iterator[tuple[int, int]]:
    """What should stay together in a line: links, code, formulas."""
    data = text.encode("utf-8", "replace")
    for kind, place in _events(text):
        if isinstance(kind, dict) and (kind.keys() & {"Code", "InlineMath"} or _is_link(kind.get("Start"))):
            yield len(data[: place["start"]].decode()), len(data[: place["end"]].decode())


def _is_link(tag: Any) -> bool:
    return isinstance(tag, dict) and bool(tag.keys() & {"Link", "Image"})


def _outdented(text: str) -> str:
    """Without the margin of a list that stayed in an earlier piece: four spaces would be code now."""
    width = len(text) - len(text.lstrip(" "))
    if not width:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        margin = len(line) - len(line.lstrip(" "))
        if line.strip() and margin < width:
            break
        lines[number] = line[min(width, margin) :]
    return "\n".join(lines)


# Showing


def render(piece: str) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities as the Bot API wants them, at most LONGEST UTF-16 units. Never raises: what cannot be shown
    formatted is the piece itself, without entities."""
    try:
        text, entities = _formatted(piece)
        if text.strip() and units(text) <= LONGEST:
            return text, [entity.to_dict() for entity in entities]
    except Exception as exc:
        log.warning("markdown_not_shown", "Markdown could not be formatted; it is sent as it is.", exc, private=True)
    return piece, []


def _shown_units(piece: str) -> int:
    try:
        return units(_formatted(piece)[0])
    except Exception:
        return units(piece)


def _formatted(piece: str) -> tuple[str, list[MessageEntity]]:
    text = _escaped(_escaped(_escaped(piece, _html), _cells_too_many), _not_counted)
    text = _escaped(_with_tables(text), _not_math)
    text = _outside_code(text, _plainer)
    with _panics():
        text, entities = convert(text, latex_escape=False, config=LOOK)
    return _checked(*_links_shown(*_on_own_lines(text, entities)))


def _events(text: str) -> tuple[Event, ...]:
    """What the parser finds, with places in UTF-8 bytes."""
    with _panics():
        events: Any = pyromark.events_with_range(text, options=STANDARD_OPTIONS)
        return tuple(events)


@contextmanager
def _panics() -> Iterator[None]:
    """The parser is written in Rust, whose panics are no Exception in Python: here they become one."""
    try:
        yield
    except BaseException as exc:
        if type(exc).__name__ == "PanicException":
            raise ValueError("the parser panicked") from exc
        raise


def _edited(text: str, edits: list[Edit]) -> str:
    data, done, found = text.encode(), 0, []
    for start, end, instead in sorted(edits):
        found += [data[done:start], instead.encode()]
        done = end
    return b"".join([*found, data[done:]]).decode()


def _escaped(text: str, wrong: Callable[[bytes, tuple[Event, ...]], list[Edit]]) -> str:
    """Rewritten until the parser finds nothing `wrong` any more: each change may bring the next to light."""
    for _ in range(MOST_ROUNDS):
        edits = wrong(text.encode(), _events(text))
        if not edits:
            return text
        text = _edited(text, edits)
    raise ValueError("too many rounds")


def _html(data: bytes, events: tuple[Event, ...]) -> list[Edit]:
    """HTML, which the library would drop: it is shown as it was written, but for line breaks."""
    edits, in_table = [], False
    for kind, place in events:
        if not isinstance(kind, dict):
            continue
        start, end = place["start"], place["end"]
        if _tag(kind, "Start", "Table"):
            in_table = True
        elif _tag(kind, "End", "Table") or kind.get("End") == "Table":
            in_table = False
        elif "InlineHtml" in kind and re.fullmatch(r"<br\s*/?>", kind["InlineHtml"], re.IGNORECASE):
            ends_line = data[end : end + 1] == b"\n"
            edits.append((start, end, " " if in_table else "" if ends_line else f"\n{_margin_at(data, start)}"))
        elif "InlineHtml" in kind:
            edits.append((start, start, "\\"))
        elif kind.get("Start") == "HtmlBlock":
            lines = re.finditer(rb"^[ \t>]*(?=<)", data[start:end], re.MULTILINE)
            edits += [(start + line.end(), start + line.end(), "\\") for line in lines]
    return edits


def _tag(kind: Any, side: str, name: str) -> bool:
    """Whether the event is the start (or end: `side`) of this, with something told of it."""
    tag = kind.get(side) if isinstance(kind, dict) else None
    return isinstance(tag, dict) and name in tag


def _margin_at(data: bytes, at: int) -> str:
    """The margin for a new line inside the list items and quotes of the line at `at`."""
    line = data[data.rfind(b"\n", 0, at) + 1 : at].decode()
    marker = re.match(r"(?:[>\s]|[-*+]\s|\d{1,9}[.)]\s)*", line)
    return _margin(marker[0]) if marker else ""


def _not_counted(data: bytes, events: tuple[Event, ...]) -> list[Edit]:
    """Numbers that do not count on, such as 1. 2. 5.: the library would number the items anew. They become plain
    lines. Where all have the same number, it is left to be counted."""
    edits: list[Edit] = []
    lists: list[list[re.Match[bytes]]] = []
    for kind, place in events:
        if not isinstance(kind, dict):
            continue
        if _tag(kind, "Start", "List"):
            lists.append([])
        elif kind.get("Start") == "Item" and (found := NUMBER.match(data, place["start"])):
            lists[-1].append(found)
        elif _tag(kind, "End", "List"):
            items = lists.pop()
            numbers = [int(item[1]) for item in items]
            counted = [numbers[0] + at for at in range(len(numbers))] if numbers else []
            if numbers != counted and len(set(numbers)) > 1:
                edits += [(item.end(1), item.end(1), "\\") for item in items]
    return edits


def _not_math(data: bytes, events: tuple[Event, ...]) -> list[Edit]:
    """Dollars that are money or shell variables, and no formula: the library would swallow them."""
    edits = []
    for kind, place in events:
        if isinstance(kind, dict) and "InlineMath" in kind:
            start, end = place["start"], place["end"]
            inside = kind["InlineMath"]
            if data[end : end + 1].isalnum() or not (MATH.search(inside) or len(inside.strip()) == 1):
                edits += [(start, start, "\\"), (end - 1, end - 1, "\\")]
    return edits


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Everything but code and formulas changed."""
    data, done, found = text.encode(), 0, []
    for kind, place in _events(text):
        if isinstance(kind, dict) and (
            kind.keys() & {"Code", "InlineMath", "DisplayMath"} or _tag(kind, "Start", "CodeBlock")
        ):
            found += [change(data[done : place["start"]].decode()), data[place["start"] : place["end"]].decode()]
            done = place["end"]
    return "".join([*found, change(data[done:].decode())])


def _plainer(text: str) -> str:
    r"""Text outside of code. || is an "or" and hides nothing; \( and \[ begin a formula; what looks like a link's
    definition but is used by no link would not be shown."""
    text = re.sub(r"\|\|", r"|\\|", text)
    text = re.sub(r"(?<!\\)\\\((.+?)\\\)", lambda found: _formula(found, "$"), text)
    text = re.sub(r"(?<!\\)\\\[((?:.|\n(?!\s*\n))+?)\\\]", lambda found: _formula(found, "$$"), text)

    def definition(found: re.Match[str]) -> str:
        used = text.lower().count(f"[{found[2].lower()}]") > 1 and not found[2].startswith("^")
        return found[0] if used else f"{found[1]}\\{found[0][len(found[1]) :]}"

    return re.sub(r"^([ >]*)\[([^\]\n]+)\]:", definition, text, flags=re.MULTILINE)


def _formula(found: re.Match[str], mark: str) -> str:
    letter = mark == "$" and len(found[1].strip()) == 1  # [x] is as often just that
    return f"{mark}{found[1].strip()}{mark}" if letter or MATH.search(found[1]) else found[0]


# Tables


@dataclass
class _Cell:
    source: str  # Markdown
    plain: str = ""
    link: bool = False  # to an address that `plain` does not show


def _cells_too_many(data: bytes, events: tuple[Event, ...]) -> list[Edit]:
    """Cells for which the table has no column, and which the parser would drop: mostly because of a | that stands in
    code without a backslash. Then it gets one; else what is left joins the last cell."""
    edits: list[Edit] = []
    last = 0
    for kind, place in events:
        if not isinstance(kind, dict):
            continue
        if kind.get("End") == "TableCell":
            last = place["end"]
        elif kind.get("End") == "TableRow" and data[last : place["end"]].strip(b"| \t\n"):
            start = place["start"]
            codes = re.finditer(rb"(`+)(?!`).+?(?<!`)\1(?!`)", data[start : place["end"]])
            spans = [(start + code.start(), start + code.end()) for code in codes]
            rest = data[last : place["end"]].rstrip()
            spans = [span for span in spans if PIPE.search(data, *span)] or [(last, last + len(rest) - 1)]
            edits += [(pipe.start(), pipe.start(), "\\") for span in spans for pipe in PIPE.finditer(data, *span)]
    return edits


def _with_tables(text: str) -> str:
    """Tables as a phone can show them: narrow ones in columns, of others each row as lines "head: value"."""
    data, edits = text.encode(), []
    rows: list[list[_Cell]] = []
    sides: list[str] = []
    in_cell = False
    for kind, place in _events(text):
        if _tag(kind, "Start", "Table"):
            rows, sides = [], list(kind["Start"]["Table"])
        elif isinstance(kind, dict) and kind.get("Start") in ("TableHead", "TableRow"):
            rows.append([])
        elif isinstance(kind, dict) and "TableCell" in (kind.get("Start"), kind.get("End")):
            in_cell = kind.get("Start") == "TableCell"
            if in_cell:
                rows[-1].append(_Cell(data[place["start"] : place["end"]].decode().strip()))
        elif _tag(kind, "End", "Table") or (isinstance(kind, dict) and kind.get("End") == "Table"):
            start, end = place["start"], place["end"]
            line = data.rfind(b"\n", 0, start) + 1
            before = data[line:start].decode()
            margin = _margin(before)
            lines = _columns(rows, sides) or _rows(rows)
            if before == margin:  # not right behind a list marker: the paragraph above ends here
                lines = ["", *lines]
            edits.append((start, end, f"\n{margin}".join([*lines, ""]) + "\n"))
        elif in_cell:
            rows[-1][-1].plain += _plain(kind)
            rows[-1][-1].link |= isinstance(kind, dict) and _hides_address(kind.get("Start"))
    return _edited(text, edits) if edits else text


def _plain(kind: Any) -> str:
    if isinstance(kind, dict):
        return next((str(kind[name]) for name in ("Text", "Code", "InlineMath", "DisplayMath") if name in kind), "")
    return " " if kind in ("SoftBreak", "HardBreak") else ""


def _hides_address(tag: Any) -> bool:
    return _is_link(tag) and not any(one.get("link_type") in ("Autolink", "Email") for one in tag.values())


def _columns(rows: list[list[_Cell]], sides: list[str]) -> list[str]:
    """The table in columns, as a code block; empty if it is too wide for that, or has links, which a code block
    cannot have."""
    texts = [[cell.plain.strip() for cell in row] for row in rows]
    widths = [max(_width(row[column]) if column < len(row) else 0 for row in texts) for column in range(len(sides))]
    total = sum(widths) + 2 * (len(widths) - 1)
    if total > NARROW or any(cell.link for row in rows for cell in row):
        return []
    lines = []
    for row in texts:
        cells = []
        for text, width, side in zip(row, widths, sides, strict=False):
            room = " " * (width - _width(text))
            cells.append(room + text if side == "Right" else text + room)
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "─" * total)
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]


def _width(text: str) -> int:
    """In columns of a fixed-width font."""
    return sum(
        0 if unicodedata.combining(sign) or sign in "\u200d\ufe0f" else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )


def _rows(rows: list[list[_Cell]]) -> list[str]:
    """The table as paragraphs, one for each row: its first cell in bold, then the others behind their heads. An empty
    cell is left out, unless the whole column is empty: its head would be lost."""
    heads = [re.sub(r"([^\w\s])", r"\\\1", cell.plain.strip(), flags=re.ASCII) for cell in rows[0]]
    filled = {number for row in rows[1:] for number, cell in enumerate(row) if cell.source}
    lines = []
    for row in rows[1:] or [[]]:
        sources = [cell.source.replace("\\|", "|") if "`" in cell.source else cell.source for cell in row]
        for number, (name, source) in enumerate(zip(heads, sources, strict=False)):
            line = f"{name}: {source}".rstrip() if name else source
            if number == 0 and line:
                line = line if re.search(r"[*_]", source) else f"**{line}**"
            if source or (name and number not in filled):
                lines.append(line)
        if not row:
            lines.append(", ".join(name for name in heads if name))
        lines.append("")
    return lines


# Checking


def _inserted(text: str, entities: list[MessageEntity], at: int, more: str) -> tuple[str, list[MessageEntity]]:
    """Text and entities with something inserted at a place in UTF-16 units; what begins there moves behind it."""
    data, by = text.encode("utf-16-le"), units(more)
    text = (data[: 2 * at] + more.encode("utf-16-le") + data[2 * at :]).decode("utf-16-le")
    moved = []
    for entity in entities:
        if entity.offset >= at:
            entity = replace(entity, offset=entity.offset + by)
        elif entity.offset + entity.length > at:
            entity = replace(entity, length=entity.length + by)
        moved.append(entity)
    return text, moved


def _on_own_lines(text: str, entities: list[MessageEntity]) -> tuple[str, list[MessageEntity]]:
    """Code blocks and quotes begin and end a line: in a list the library forgets that."""
    places = {place for entity in entities if entity.type in ("pre", "blockquote") for place in _ends_of(entity)}
    data = text.encode("utf-16-le")
    for at in sorted(places, reverse=True):
        around = data[2 * at - 2 : 2 * at], data[2 * at : 2 * at + 2]
        if 0 < at < len(data) // 2 and b"\n\0" not in around:
            text, entities = _inserted(text, entities, at, "\n")
    return text, entities


def _ends_of(entity: MessageEntity) -> tuple[int, int]:
    return entity.offset, entity.offset + entity.length


def _links_shown(text: str, entities: list[MessageEntity]) -> tuple[str, list[MessageEntity]]:
    """Links that Telegram would not open stand behind their words."""
    for link in sorted((one for one in entities if one.type == "text_link"), key=_ends_of, reverse=True):
        url = link.url or ""
        if LINK.fullmatch(url):
            continue
        entities = [one for one in entities if one is not link]
        data = text.encode("utf-16-le")
        words = data[2 * link.offset : 2 * (link.offset + link.length)].decode("utf-16-le")
        if url and url.removeprefix("mailto:") != words:
            text, entities = _inserted(text, entities, link.offset + link.length, f" ({url})")
    return text, entities


def _checked(text: str, entities: list[MessageEntity]) -> tuple[str, list[MessageEntity]]:
    """Without blank ends; entities in order, inside the text, on whole signs, and none crosses another."""
    text = text.rstrip()
    first = min((entity.offset for entity in entities), default=len(text))
    lead = min(len(text) - len(text.lstrip("\n")), first)
    text = text[lead:]
    edges, length = {0}, 0
    for sign in text:
        length += 2 if sign > "\uffff" else 1
        edges.add(length)
    kept: list[MessageEntity] = []
    around: list[int] = []  # where the entities end that the next one may lie in
    for entity in sorted(entities, key=lambda one: (one.offset, -one.length)):
        start, end = entity.offset - lead, min(entity.offset + entity.length - lead, length)
        around = [limit for limit in around if limit > start]
        if start >= end or start not in edges or end not in edges or any(end > limit for limit in around):
            continue
        language = (entity.language or "").split(" ")[0]
        language = language if LANGUAGE.fullmatch(language) else ""
        kept.append(replace(entity, offset=start, length=end - start, language=language or None))
        around.append(end)
    if len(kept) > MOST_ENTITIES:  # without bold everything can still be read, but not without an address
        kept = sorted(kept, key=lambda one: one.type != "text_link")[:MOST_ENTITIES]
    return text, sorted(kept, key=lambda one: (one.offset, -one.length))
