"""Names as strangers choose them: of classes, folders, metrics and values of settings."""

from hypothesis import strategies as st

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "a|b",
    "a\nb",
    "a\\nb",
    "a\rb",
    "a\tb",
    "`code`",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "x;=1+1",
    " =1+1",
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    "\\",
    "$x$",
    "\\$",
    "100%",
    "~",
    "^",
    "a_b",
    "_a_",
    "**a**",
    "[a](http://b)",
    "![a](b)",
    "&lt;",
    "a--b",
    "``a''",
    '"a"',
    "# a",
    "\u202eabc",
    "abc\u200f",
    "a\u200db",
    "caf\udce9",
    "caf\u00e9",
    "cafe\u0301",
    "\u65e5\u672c",
    "\u0000",
    "x" * 300,
    "x" * 299 + "y",
    "",
    " ",
    " a",
    "a ",
    "a  b",
    "a b",
    "a/b",
    "a-b",
    "A-B",
    "-",
    "--",
    "None",
    "NA",
    "nan",
    "null",
    "True",
    "1",
    "1.0",
    "01",
    "[1]",
    "'-1",
    "'",
    "a, b",
    "a = b",
    "a; b",
    "V1",
    "1 +- 2 (3)",
    "base",
    "mixture",
)
"""Each one is dangerous or unclear in some format, or looks like another one."""

NAMES = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=()), max_size=12)
"""Text of any characters, also those that no file can hold."""

FLOATS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
NEAR = st.sampled_from((0.3, 0.1 + 0.2, 0.30000001, 1.0, 0.0, -0.0, 1e-7, 123456.7, 123456.71))
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | FLOATS
    | NEAR
    | NAMES
    | st.lists(st.integers(0, 9), max_size=2)
    | st.sampled_from(("1", "1.0", 1, 1.0, True, "true", "True", None, "None", "-", "[1]", [1]))
)
"""Values of a setting as JSON holds them."""
