"""How JSON text becomes Python values: strictly, exactly, and without a way to overrun anything.

No key twice in one object, no `NaN`, no text but UTF-8; fractions and exponents stay exact (`Decimal`) until a field's
type is known. A value that does not fit is a `Misfit`, which collects its path on the way up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from meshkit.core.errors import InvalidRequest

SHOWN_CHARACTERS_MAX: Final = 64
"""How much of a caller's own key is repeated in an error."""


class Misfit(Exception):
    """A value does not fit its field. `path` grows from the innermost part outwards."""

    def __init__(self, description: str) -> None:
        """`description` follows the path: `must be a list`."""
        super().__init__(description)
        self.description = description
        self.path: list[str] = []

    def refusal(self) -> InvalidRequest:
        """The error that the caller sees, with the path as JSON spells it."""
        path = ""
        for part in reversed(self.path):
            path += part if part.startswith("[") or not path else f".{part}"
        if not path:
            return InvalidRequest(self.description)
        return InvalidRequest.of(path, self.description)


def shown(name: str) -> str:
    """A caller's own text, short enough and encodable, for an error."""
    return name[:SHOWN_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def parse_json(body: bytes) -> Any:  # noqa: ANN401 — JSON is anything
    """The value that the text stands for; numbers are `int` or `Decimal`.

    Raises:
        InvalidRequest: it is not JSON, or holds what we do not take.
    """
    try:
        return _DECODER.decode(body.decode())
    except Misfit as misfit:
        raise misfit.refusal() from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except (ValueError, InvalidOperation):
        # Python reads no integer of more than 4,300 digits, and no exponent beyond 10^18.
        raise InvalidRequest("the body holds a number that is far out of range") from None


class Repeating(dict[str, Any]):
    """An object that has a key twice: `key`.

    The parser sees inner objects before outer ones and so knows no path; whoever takes the object refuses it by
    `not_an_object`, with the path. Nobody takes it by mistake, because its type is not `dict`.
    """

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = Repeating()
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            repeating.key = name
            break
        seen.add(name)
    return repeating


def not_an_object(value: Any, spell: Callable[[str], str] = shown) -> Misfit:  # noqa: ANN401 — JSON is anything
    """Why a value that is no `dict` is refused; `spell` gives the path's part of a key."""
    if not isinstance(value, Repeating):
        return Misfit("must be an object")
    misfit = Misfit("is given twice")
    misfit.path.append(spell(value.key))
    return misfit


def _refuse_constant(name: str) -> NoReturn:
    raise Misfit(f"the body holds {name}, which JSON does not know")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_refuse_constant)
