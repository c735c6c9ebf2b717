"""Whether the Hugging Face hub answers at all, asked once: its client would try for minutes, file by file."""

import functools

_SECONDS = 8.0


def unreachable() -> str | None:
    """Returns why the hub can't be reached, or None if it answers, whatever it says.

    The proxies, the certificates and HF_ENDPOINT are those of its client.
    """
    from huggingface_hub import constants

    return _asked(constants.ENDPOINT)


@functools.cache
def _asked(endpoint: str) -> str | None:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=_SECONDS, follow_redirects=False)
    except Exception as error:  # of many types, by the version of its client
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"the hub at {endpoint} can't be reached: {reason}"
    return None
