"""``python -m rain`` is the command ``rain``."""

from rain.cli.main import main

if __name__ == "__main__":
    main()
