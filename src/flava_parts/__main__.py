"""``python -m flava_parts`` is ``flava-parts``."""

from .cli import main

if __name__ == "__main__":
    main()
