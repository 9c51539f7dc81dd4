"""The command line of a service process: `python -m inventory_svc serve | migrate`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from meshkit.core.settings import ServiceSettings, SettingsFault

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def main(settings_class: type[SettingsT], bootstrap: str, migrate: Callable[[SettingsT], None]) -> NoReturn:
    """Reads the command and the environment, then serves, or brings the schema up to date and exits.

    `bootstrap` names the module whose `build` puts the service together. It is imported to serve only: a migration that
    loaded gRPC and all the rest would start a second later.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {settings_class.__module__.partition('.')[0]}")
    parser.add_argument(
        "command", choices=("serve", "migrate"), help="serve: run the service; migrate: bring its schema up to date"
    )
    command = parser.parse_args().command
    try:
        settings = settings_class.load()
    except SettingsFault as fault:
        sys.exit(str(fault))
    if command == "serve":
        service = importlib.import_module("meshkit.service")
        service.run(settings, importlib.import_module(bootstrap).build)
    migrate(settings)
    sys.exit(0)
