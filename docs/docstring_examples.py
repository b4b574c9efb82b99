"""For the API pages: examples in docstrings, `>>> …`, become blocks of code, as they are no Markdown."""

import griffe


def fenced(text: str) -> str:
    """Text with every run of lines from a `>>>` to the next empty line in a fence."""
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if not inside and line.startswith(">>>"):
            lines += ["", "```pycon"]
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines).rstrip()


class FencedExamples(griffe.Extension):
    """Fences the examples of every object that is read."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
