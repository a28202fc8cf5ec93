"""``python -m mqtasks`` is the ``mqtasks`` command."""

from mqtasks.cli.main import main

if __name__ == "__main__":
    main()
