"""Whether a model can be had from the Hugging Face hub, asked once before its files are.

Where the hub cannot be reached, its library tries every single file again and again, for minutes in all, and says at
the end the same of a missing model as of a missing network.
"""

from __future__ import annotations

import functools
import time

from m3po.errors import ModelError, UnusableModelError

CONFIG = "config.json"
ONCE_MORE = 2.0  # seconds after which a network that refused is asked again: it may just be coming back
_NO_NETWORK = {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}


@functools.cache
def check_hub(name: str) -> None:
    """Raise ModelError where the hub cannot be reached, UnusableModelError where it has no such model.

    Nothing is asked where the model was downloaded before, or where downloading is off. A hub that is reached and
    slow, or busy, is left to the library's own patience. The time to connect is HF_HUB_ETAG_TIMEOUT, 10 s.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        if constants.is_offline_mode() or isinstance(try_to_load_from_cache(name, CONFIG), str):
            return
        address = hf_hub_url(name, CONFIG)
    except errors.HFValidationError:
        return  # no hub id: transformers says so
    for wait in (ONCE_MORE, None):
        try:
            get_hf_file_metadata(address)
            return
        except errors.GatedRepoError as error:
            raise ModelError(
                f"The model {name} is given only to those who asked for it: accept its terms on the Hugging Face hub, "
                "set HF_TOKEN where the app or command is started, then resume this run."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise UnusableModelError(
                f"There is no model {name}, neither as a folder here nor on the Hugging Face hub (nor a private one "
                "that the token in HF_TOKEN may read): start a new run with the right name."
            ) from error
        except Exception as error:  # of the HTTP library, which is the hub library's affair
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if not kinds & _NO_NETWORK:
                return
            if wait is None or "ConnectTimeout" in kinds:  # it has waited already
                raise ModelError(
                    f"The model {name} is no folder here, and the Hugging Face hub cannot be reached to fetch it: "
                    "check the connection (or the name, if it should be a folder), then resume this run."
                ) from error
            time.sleep(wait)
