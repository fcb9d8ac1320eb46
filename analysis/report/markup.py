"""Elements of the report's page, built as trees so that all text in them is escaped."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

from model.errors import printable


def element(tag: str, *content: str | Element, **attributes: str) -> Element:
    """An element with text and other elements; `class_` is the attribute class."""
    made = Element(tag, {name.rstrip("_"): printable(v) for name, v in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _text(part)
        else:
            made.text = (made.text or "") + _text(part)
    return made


def bullets(items: Iterable[str | Element]) -> Element:
    """A list with a bullet for each item."""
    return element("ul", *(element("li", item) for item in items))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    """A table whose first column names its rows, in a region that scrolls if it is too wide."""
    names = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell) for cell in rest),
        )
        for first, *rest in rows
    ]
    made = element(
        "table",
        element("caption", caption),
        element("thead", names),
        element("tbody", *body),
    )
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *content: Element) -> Element:
    """Elements that are shown once their summary is opened."""
    return element("details", element("summary", summary), *content)


def to_html(elements: Iterable[Element]) -> str:
    """Write elements as HTML."""
    elements = list(elements)
    for each in elements:
        for part in each.iter():
            for name in [name for name in part.attrib if "_" in name]:
                part.attrib[name.replace("_", "-")] = part.attrib.pop(name)
    return "\n".join(tostring(each, encoding="unicode", method="html") for each in elements)


def _text(text: str) -> str:
    return printable(text).replace(" +- ", " \N{PLUS-MINUS SIGN} ")
