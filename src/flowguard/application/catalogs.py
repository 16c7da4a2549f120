"""The catalog in force: the built-in one, or a user's, named as `module:attribute`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from flowguard.domain.catalog import BUILT_IN, Catalog, CatalogError
from flowguard.domain.errors import ConfigurationError


def load_catalog(place: str) -> Catalog:
    """The catalog at `module:attribute`, or the built-in one where `place` is empty.

    Modules in the current folder are found too. Raises ConfigurationError, in one line that says how to mend it.
    """
    if not place:
        return Catalog(BUILT_IN)
    module_name, colon, attribute = place.partition(":")
    if not (colon and module_name and attribute):
        raise ConfigurationError(f"catalog {place!r}: write module:attribute, for example shop.events:catalog")
    found = getattr(_module(place, module_name), attribute, None)
    if found is None:
        raise ConfigurationError(f"catalog {place!r}: the module {module_name} has no {attribute!r}")
    if not isinstance(found, Catalog):
        kind = type(found).__name__
        raise ConfigurationError(f"catalog {place!r} is a {kind}: make it a flowguard Catalog([EventType(...), ...])")
    return found


def _module(place: str, name: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"catalog {place!r}: there is no module {error.name} in {here}, nor installed"
            ) from error
        raise ConfigurationError(f"catalog {place!r}: {name} needs a module that is not there: {error.name}") from error
    except CatalogError as error:
        raise ConfigurationError(f"catalog {place!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"catalog {place!r}: importing {name} raised {type(error).__name__}: {error}"
        ) from error
