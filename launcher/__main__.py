"""`python -m launcher` is the same as `launch`."""

from launcher.cli import main

if __name__ == "__main__":
    main()
