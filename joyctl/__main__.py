"""`python -m joyctl`."""

from joyctl.cli.main import main

if __name__ == "__main__":
    main()
