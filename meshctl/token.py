"""`beautymesh token`: a signed token for a client, printed and nothing else.

Whoever can read the state folder's key may do what any token may: this needs no mesh that is up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from meshctl.refusal import SetupRefused
from meshctl.state import default_folder
from meshctl.up import WIDENING_SCOPES, all_scopes
from meshkit.rpc.tokens import TOKEN_SECONDS_MAX, TokenIssuer

LIFETIME_SECONDS_DEFAULT = 3600


def command(
    *,
    scope: Annotated[list[str], typer.Option(help="A scope to grant; may be given several times.")],
    subject: Annotated[str, typer.Option(help="Who the token speaks for.")] = "developer",
    client_id: Annotated[str, typer.Option(help="The party that its request ids belong to.")] = "beautymesh-cli",
    lifetime: Annotated[
        int, typer.Option(min=1, max=TOKEN_SECONDS_MAX, help="Seconds that it is good for.")
    ] = LIFETIME_SECONDS_DEFAULT,
    channel: Annotated[list[str] | None, typer.Option(help="A channel to limit it to, or several.")] = None,
    location: Annotated[list[str] | None, typer.Option(help="A location to limit it to, or several.")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder whose key signs.", show_default=False)] = None,
) -> None:
    """Make a token for a client of the mesh."""
    scopes = frozenset(word for given in scope for word in given.split())
    asked, widening = (" ".join(sorted(each)) for each in (all_scopes(), WIDENING_SCOPES))
    # Not refused: a service that is newer than this program may know it.
    for name in sorted(scopes - all_scopes() - WIDENING_SCOPES):
        print(f"no RPC knows the scope {name}; they ask for: {asked}; and are widened by: {widening}", file=sys.stderr)
    key_file = (state or default_folder()) / "keys" / "signing-key.json"
    try:
        issuer = TokenIssuer.from_key_file(key_file, issuer=os.environ.get("BEAUTYMESH_ISSUER") or "beautymesh")
    except OSError as fault:
        raise SetupRefused(
            f"there is no key to sign with: {key_file}: {fault.strerror}",
            "start a mesh once: make up, or beautymesh up",
            "name its state folder with --state",
        ) from None
    print(
        issuer.issue(
            subject=subject,
            client_id=client_id,
            scopes=scopes,
            lifetime_seconds=lifetime,
            channels=frozenset(channel or ()),
            locations=frozenset(location or ()),
        )
    )
