"""The argument of a config file, `model=vgg16,data=cifar10`, as the keys and values that its `get_config` knows."""

from jtransfer.core import literals
from jtransfer.core.errors import InputError, unknown

_BETWEEN = r",(?=\s*[A-Za-z_]\w*=)"  # a comma that another key follows; any other one belongs to a value


def parse(arg: str, **defaults: str) -> dict[str, str]:
    """Returns the values of an argument, with the defaults filled in.

    `"model=vgg16,data=cifar10"` has two. A comma ends a value if a key and `=` come after it, so that
    `"data=parallel:/a.en,/a.de,train=train"` needs no quotes. Inside of brackets and quotes it never does; quotes
    around a whole value are no part of it, as in `'name="a,b=c"'`.

    Args:
      arg: The argument; "" has no values.
      **defaults: The keys that are known, and their values where the argument has none.

    Raises:
      InputError: A key is unknown or given twice, or a bracket or a quote has no other half.
    """
    given: dict[str, str] = {}
    for part in literals.cut((arg or "").strip().rstrip(","), _BETWEEN):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not part.strip():
            continue
        if not equals:
            raise InputError(f"the config's argument {arg!r} needs key=value pairs, separated by commas")
        if key not in defaults:
            raise _unknown(key, part, defaults)
        if key in given:
            raise InputError(f"the config's argument {arg!r} gives {key!r} twice")
        given[key] = literals.unquoted(value)
    return {**defaults, **given}


def _unknown(key: str, part: str, defaults: dict[str, str]) -> InputError:
    told = str(unknown("key in the config's argument", key, defaults, every=True))
    return InputError(f'{told}. Where {part!r} belongs to the value before it, put that in quotes: KEY="…,{part}"')
