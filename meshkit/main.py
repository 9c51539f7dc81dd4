"""The command line of a service process: `python -m inventory_svc serve | migrate`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import NoReturn

from meshkit.core.settings import ServiceSettings, SettingsFault


def main(settings_class: type[ServiceSettings], bootstrap: str, migrations: Path) -> NoReturn:
    """Reads the command and the environment, then serves, or brings the schema up to date and exits.

    `bootstrap` names the module whose `build` puts the service together, and `migrations` is the folder of its schema's
    history. Each command imports what it needs: a migration that loaded gRPC would start a second later.
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
    done = importlib.import_module("meshkit.db.migrations").migrate(settings.database_url, migrations)
    sys.stdout.write(
        f"{settings.service}: schema {done.after} is up to date\n"
        if done.before == done.after
        else f"{settings.service}: migrated from {done.before or 'nothing'} to {done.after}\n"
    )
    sys.exit(0)
