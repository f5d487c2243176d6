#!/usr/bin/env python
"""The project's command line: `manage.py serve`, `cleanup`, `load_knowledge`, and Django's own."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")
    from django.db import OperationalError

    from supportdesk.environment import WrongSetting

    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except WrongSetting as error:
        sys.exit(f"supportdesk does not start: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OperationalError as error:
        sys.exit(f"The database cannot be used: {str(error).strip()}. DATABASE_URL says which it is.")


if __name__ == "__main__":
    main()
