"""Whether the Hugging Face hub answers at all, asked once: its client would try for minutes, file by file."""

import threading
import time

_SECONDS = 8.0  # that the hub has to answer
_MORE = 4.0  # that finding its address may take besides
_AGAIN = 60.0  # after which it is asked once more

_known: dict[str, tuple[float, str | None]] = {}  # endpoint → when it was asked, and why it can't be reached


def unreachable() -> str | None:
    """Returns why the hub can't be reached, or None if it answers, whatever it says.

    The proxies, the certificates and HF_ENDPOINT are those of its client.
    """
    from huggingface_hub import constants

    endpoint, now = constants.ENDPOINT, time.monotonic()
    asked, reason = _known.get(endpoint, (now, "not asked yet"))
    if endpoint not in _known or (reason and now - asked > _AGAIN):
        reason = _asked(endpoint)
        _known[endpoint] = time.monotonic(), reason
    return reason and f"the hub at {endpoint} can't be reached: {reason}"


def _asked(endpoint: str) -> str | None:
    """Asks in a thread of its own, as no timeout ends the search for an address."""
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(_why(endpoint)), daemon=True)
    thread.start()
    thread.join(_SECONDS + _MORE)
    return found[0] if found else "no answer"


def _why(endpoint: str) -> str | None:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=_SECONDS, follow_redirects=False)
    except Exception as error:  # of many types, by the version of its client
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None
