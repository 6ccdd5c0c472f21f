"""`python -m plaudit` is `plaudit`."""

from plaudit.shells.cli import console

if __name__ == "__main__":
    console()
