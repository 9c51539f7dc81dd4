"""What the contract's comments say of each element, for documents: they stand in the proto files, not in the stubs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from edge_gateway.rest.spelling import json_path

PACKAGE: Final = "beautymesh"
FILE: Final = "descriptions.json"
"""Written beside the stubs: comment by full name (`beautymesh.inventory.v1.Sku.name`)."""

_FIELD_NAME: Final = re.compile(r"`[a-z0-9]+(?:[_.][a-z0-9]+)+`")


def read_descriptions() -> Mapping[str, str]:
    """Every comment by its element's full name, with field names as JSON spells them; empty without the file."""
    file = resources.files(PACKAGE).joinpath(FILE)
    if not file.is_file():
        return {}
    comments: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return {name: _FIELD_NAME.sub(lambda found: json_path(found[0]), text) for name, text in comments.items()}
