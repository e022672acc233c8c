"""`palmetto` and `python -m palmetto`: the command line."""

import os


def main() -> None:
    """Imports the command line and runs it; Ctrl-C while it is imported ends the process as it does later."""
    try:
        from palmetto.cli import app
    except KeyboardInterrupt:
        os._exit(130)
    app.main()


if __name__ == "__main__":
    main()
