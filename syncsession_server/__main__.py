"""python -m syncsession_server"""

from .cli import main

main(prog_name="syncsession-server")
