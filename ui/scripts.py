"""The page's scripts: ES modules in ui/static, served under an address that holds their hash.

All modules share one hash, which is a folder of the address: what they import from one another (`./keys.js`) then
carries it too, and a browser keeps them until one of them changes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import Response
from fastapi.responses import PlainTextResponse

FOLDER = Path(__file__).with_name("static")
FILES = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.js"))}  # read once: what runs is what is served
VERSION = hashlib.sha256(b"\0".join(name.encode() + b"\0" + text for name, text in FILES.items())).hexdigest()[:16]
FOREVER = "public, max-age=31536000, immutable"


def load_script(name: str) -> str:
    """The js_on_load of a component whose script is the module `name`: it calls `start(element, server)` there, once it
    is known whose page it is."""
    return (
        f'Promise.all(["{name}", "who"].map((name) => import('
        f'new URL("m3po/static/{VERSION}/" + name + ".js", document.baseURI))))'
        ".then(([module, who]) => who.known.then(() => module.start(element, server)))"
        ".catch((error) => { console.error(error);"
        ' element.append("A script of this page did not load: reload it."); });'
    )


def preload_scripts() -> str:
    """For the page's head: the modules come while Gradio itself still starts, not one after another when it has."""
    paths = [f"m3po/static/{VERSION}/{name}" for name in FILES]
    return "".join(f"<link rel='modulepreload' href='{path}'>" for path in paths)


def send_script(version: str, name: str) -> Response:
    """One module; an address of another version gets what there is now, not to be kept."""
    text = FILES.get(name)
    if text is None:
        return PlainTextResponse("No such script.", status_code=404)
    cache = FOREVER if version == VERSION else "no-store"
    return Response(text, media_type="text/javascript", headers={"Cache-Control": cache})
