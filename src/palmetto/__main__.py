"""The entry point of `palmetto` and `python -m palmetto`."""

import os


def main() -> None:
    """Imports the command line and runs it. Ctrl-C during the import ends the process with the same exit code."""
    try:
        from palmetto.cli import app
    except KeyboardInterrupt:
        os._exit(130)
    app.main()


if __name__ == "__main__":
    main()
