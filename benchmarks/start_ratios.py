"""How many times sooner is a pool of FuloadExecutor there than others?
(starts.py; this file imports nothing, because spawned workers import it.)"""

if __name__ == "__main__":
    import sys

    from starts import main

    sys.exit(main())
