"""One name for the whole: `hookprobe.capture`, `hookprobe.effect` and all other names of `probes` and
`interventions`, which are where the documents take them from; `hookprobe.__version__`.

Names load on first use, so the import itself costs nothing and the command line (`hookprobe --help`)
answers at once.
"""

from typing import TYPE_CHECKING, Any

from hookprobe.beside import ours as _ours

_PACKAGES = ("probes", "interventions")

if TYPE_CHECKING:
    from interventions import *  # noqa: F403
    from probes import *  # noqa: F403

    __version__: str
else:  # out of the checkers' sight, so that a name that is not there is an error to them

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import PackageNotFoundError, version

            try:
                return version("hookprobe")
            except PackageNotFoundError:
                return "0+unknown"  # a checkout that was never installed
        if name == "__all__":
            return ["__version__", *(n for p in _PACKAGES for n in _ours(p).__all__)]
        if not name.startswith("_"):
            for package in map(_ours, _PACKAGES):
                if name in package.__all__:
                    return getattr(package, name)
        raise AttributeError(f"module 'hookprobe' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
