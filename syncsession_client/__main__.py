"""python -m syncsession_client"""

from .cli import main

main(prog_name="syncsession-client")
