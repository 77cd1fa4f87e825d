"""M3PO Studio: the page. `python app.py --workspace DIR`, then open the address it prints.

Arguments -> workspace -> page -> server, nothing else. Jobs are processes of their own: stopping the app stops none.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import webbrowser
from pathlib import Path

# Before anything of Gradio or the Hugging Face libraries is imported: nothing is sent anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="app.py", description="Review, correct and train on preference pairs.")
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"), metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 (default) is this machine alone")
    parser.add_argument("--port", type=read_port, default=7860, help="0 picks a free one")
    parser.add_argument(
        "--auth", type=Path, metavar="USERS_FILE", help="who may come in; `python -m m3po users` writes it"
    )
    parser.add_argument("--root-path", default="", metavar="PATH", help="where a reverse proxy shows the page: /studio")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    return parser.parse_args()


def read_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def main() -> None:
    arguments = read_arguments()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    from m3po.errors import M3poError  # after the environment is set

    try:
        run(arguments)
    except M3poError as error:
        sys.exit(str(error))


def run(arguments: argparse.Namespace) -> None:
    """Open the workspace and serve it until SIGTERM or Ctrl+C."""
    from m3po.bridge import Listener
    from m3po.studio import Studio
    from m3po.users import Users
    from ui.build import build
    from ui.server import address_of, bind, build_server, hosts_of, serve

    if hosts_of(arguments.host) is None and not arguments.auth:
        print(f"Anybody who reaches {arguments.host} can use this page: give --auth USERS_FILE.", file=sys.stderr)
    users = Users(arguments.auth) if arguments.auth else None
    with bind(arguments.host, arguments.port) as listener:
        address = address_of(listener)
        studio = Studio.open(arguments.workspace, address=address)
        try:
            studio.people.users = users
            bridge = Listener(studio, address)
            try:
                studio.start_demo()
                studio.warm_up()
                hosts = hosts_of(arguments.host)
                server = build_server(studio, build(studio), users=users, hosts=hosts, root_path=arguments.root_path)
                serve(server, listener, on_ready=lambda: tell(address, arguments.no_browser))
            finally:
                bridge.close(patience=5.0)
        finally:
            studio.close()


def tell(address: str, quiet: bool) -> None:
    print(f"M3PO Studio is at {address} (Ctrl+C stops it; running jobs go on)", flush=True)
    if not quiet:  # in a thread: without a screen it may be a text browser, which would hold the server up
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


if __name__ == "__main__":
    main()
