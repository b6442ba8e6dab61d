"""The clients, and what clients and the service share: the model, the grammar, the algebra and the errors.

It imports botocore and numpy, and nothing from the service. ``Client`` and what belongs to it are imported when they
are first named, so that the service does not load them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from active_storage.client.arguments import between, nearest
    from active_storage.client.client import Client
    from active_storage.client.dask_arrays import DaskClient
    from active_storage.client.datasets import open_dataset, open_mfdataset
    from active_storage.client.progress import ProgressBar
    from active_storage.client.results import Plan, Result

__all__ = [
    "Client",
    "DaskClient",
    "Plan",
    "ProgressBar",
    "Result",
    "between",
    "nearest",
    "open_dataset",
    "open_mfdataset",
]

_MODULES = {
    "Client": "active_storage.client.client",
    "DaskClient": "active_storage.client.dask_arrays",
    "ProgressBar": "active_storage.client.progress",
    "Plan": "active_storage.client.results",
    "Result": "active_storage.client.results",
    "between": "active_storage.client.arguments",
    "nearest": "active_storage.client.arguments",
    "open_dataset": "active_storage.client.datasets",
    "open_mfdataset": "active_storage.client.datasets",
}


# The extra that installs a package, for those that are not installed with the client.
_OPTIONAL = {"dask": "dask", "xarray": "xarray"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OPTIONAL:
            raise
        raise ImportError(f"{name} needs {package}: install s3-active-storage[{_OPTIONAL[package]}]") from error
