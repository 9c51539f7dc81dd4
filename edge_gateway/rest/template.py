"""What a path template of `google/api/http.proto` matches, and which parts of a path it captures.

    Template = "/" Segments [ Verb ] ;
    Segments = Segment { "/" Segment } ;
    Segment  = "*" | "**" | LITERAL | Variable ;
    Variable = "{" FieldPath [ "=" Segments ] "}" ;
    FieldPath = IDENT { "." IDENT } ;
    Verb     = ":" LITERAL ;

Source: the grammar in google/api/http.proto.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

ANY: Final = "*"
"""One segment of any text."""

REST: Final = "**"
"""All segments that are left, be it none."""

_LITERAL: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()+,;@]+")
"""Without `%`: segments are decoded before they are compared, so that an encoded literal would match nothing."""

_FIELD_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class TemplateFault(Exception):
    """A path template that cannot be read; the message quotes it and says what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A capture of the segments `start` to `stop` (exclusive; None: to the end) into the field at `field_path`."""

    field_path: str
    start: int
    stop: int | None

    @property
    def takes_one_segment(self) -> bool:
        """Whether a slash can never be part of the value, so that `%2F` in it is decoded like any other character."""
        return self.stop == self.start + 1


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read. `segments` holds literals, `ANY` and `REST`; `verb` is empty where there is none."""

    text: str
    segments: tuple[str, ...]
    variables: tuple[Variable, ...]
    verb: str

    def covers(self, other: Template) -> bool:
        """Whether every path that `other` matches is matched by this template as well."""
        if self.verb != other.verb:
            return False
        for index, segment in enumerate(self.segments):
            if segment == REST:
                return True
            if index == len(other.segments) or other.segments[index] == REST:
                return False
            if segment not in (ANY, other.segments[index]):
                return False
        return len(self.segments) == len(other.segments)

    def overlaps(self, other: Template) -> bool:
        """Whether there is a path that both match."""
        if self.verb != other.verb:
            return False
        for ours, theirs in zip(self.segments, other.segments, strict=False):
            if REST in (ours, theirs):
                return True
            if ANY not in (ours, theirs) and ours != theirs:
                return False
        longer = max(self.segments, other.segments, key=len)
        shorter_length = min(len(self.segments), len(other.segments))
        return longer[shorter_length:] in ((), (REST,))


def parse_template(text: str) -> Template:
    """Reads a template.

    Raises:
        TemplateFault: if it does not follow the grammar, binds a field twice, or has anything but a verb after `**`.
    """
    return _Parser(text).template()


class _Parser:
    """Recursive descent, one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._segments: list[str] = []
        self._variables: list[Variable] = []

    def template(self) -> Template:
        self._expect("/")
        self._read_segments(inside_variable=False)
        verb = ""
        if self._take(":"):
            verb = self._match(_LITERAL, "a verb")
        if self._at < len(self._text):
            raise self._fault("the end, '/' or ':'")
        if REST in self._segments[:-1]:
            raise TemplateFault(f"{self._text!r}: nothing but a verb may follow '**'")
        paths = [variable.field_path for variable in self._variables]
        for path in paths:
            if paths.count(path) > 1:
                raise TemplateFault(f"{self._text!r}: binds {path} twice")
        return Template(self._text, tuple(self._segments), tuple(self._variables), verb)

    def _read_segments(self, *, inside_variable: bool) -> None:
        self._read_segment(inside_variable=inside_variable)
        while self._take("/"):
            self._read_segment(inside_variable=inside_variable)

    def _read_segment(self, *, inside_variable: bool) -> None:
        if self._take("**"):
            self._segments.append(REST)
        elif self._take("*"):
            self._segments.append(ANY)
        elif not inside_variable and self._take("{"):
            self._read_variable()
        else:
            self._segments.append(self._match(_LITERAL, "a segment"))

    def _read_variable(self) -> None:
        field_path = self._match(_FIELD_PATH, "a field path")
        start = len(self._segments)
        if self._take("="):
            self._read_segments(inside_variable=True)
        else:
            self._segments.append(ANY)
        self._expect("}")
        stop = None if self._segments[-1] == REST else len(self._segments)
        self._variables.append(Variable(field_path, start, stop))

    def _take(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._fault(repr(token))

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self._fault(what)
        self._at = found.end()
        return found.group()

    def _fault(self, expected: str) -> TemplateFault:
        return TemplateFault(f"{self._text!r}: expected {expected} at character {self._at + 1}")
