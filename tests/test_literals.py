"""Values that hold commas, in a config's argument, in fields that are tuples, and in what a comparison varies."""

import pytest

from jtransfer.comparing import vary
from jtransfer.core import literals
from jtransfer.core.errors import InputError
from jtransfer.runs import config as configs
from jtransfer.runs import config_file


@pytest.mark.parametrize(
    ("arg", "expected"),
    {
        "a=1,b=2": {"a": "1", "b": "2"},
        'a=lora,b="query|value,key"': {"a": "lora", "b": "query|value,key"},
        "a='x,b=y',b=z": {"a": "x,b=y", "b": "z"},
        "a=parallel:/x.en,/x.de,b=train": {"a": "parallel:/x.en,/x.de", "b": "train"},
        "a=random(:80%, seed=1),b=random(80%:, seed=1)": {"a": "random(:80%, seed=1)", "b": "random(80%:, seed=1)"},
        "a=csv:/data/x=1/it's.csv,b=k": {"a": "csv:/data/x=1/it's.csv", "b": "k"},
        "a=gs://bucket/x:y,b=normalize('imagenet', b=1)": {"a": "gs://bucket/x:y", "b": "normalize('imagenet', b=1)"},
        "a=[x,b=1],b={c:d,e=f}": {"a": "[x,b=1]", "b": "{c:d,e=f}"},
        "a=,b=2,": {"a": "", "b": "2"},
        "": {},
    }.items(),
)
def test_the_argument_of_a_config(arg, expected):
    assert configs.parse(arg, a="", b="") == {"a": "", "b": "", **expected}


@pytest.mark.parametrize(
    ("arg", "said"),
    {
        "c=1": "unknown key in the config's argument 'c'; nearest: a, b",
        "a=1,typo=2": r"unknown key .* Where 'typo=2' belongs to the value before it, put that in quotes",
        "a": "needs key=value pairs",
        "a=1,a=2": "gives 'a' twice",
        "a=(1,b=2": "without its other half",
        'a="1,b=2': "without its other half",
    }.items(),
)
def test_a_wrong_argument_is_told(arg, said):
    with pytest.raises(InputError, match=said):
        configs.parse(arg, a="", b="")


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "(a,b)": ("a", "b"),
        "a,b": ("a", "b"),
        "head/.*": "head/.*",
        "(head/.*)": ("head/.*",),
        "head/.*,": ("head/.*",),
        "('a', \"b,c\")": ("a", "b,c"),
        '(a,"b,c")': ("a", "b,c"),
        "[(all-linear,lora,{rank:8})]": [("all-linear", "lora", {"rank": 8})],
        "(((stage4|head)/.*,10.0),(.*,1.0))": (("(stage4|head)/.*", 10.0), (".*", 1.0)),
        "a{1,2}/.*,b": ("a{1,2}/.*", "b"),
        "(task,(mmd,0.1))": ("task", ("mmd", 0.1)),
        "()": (),
        "(a,)": ("a",),
        "(it's,gs://b/c=d:e)": ("it's", "gs://b/c=d:e"),
    }.items(),
)
def test_a_tuple_needs_no_quotes(text, expected):
    assert literals.read_sequence(text) == expected


def test_fields_that_are_tuples(tmp_path):
    file = tmp_path / "a,b=c.py"
    file.write_text(
        "from jtransfer import config\n\n\ndef get_config(arg=''):\n    made = config.default()\n"
        "    made.data.name = config.parse(arg, data='x')['data']\n    return made\n"
    )
    given = [
        "--config.reinit=(head/.*,aux/.*)",
        "--config.optim.rates=(((stage4|head)/.*,10),(.*,1))",
        "--config.phases[0].trainable=(stage4|head)/.*",
        "--config.adapters=((.*/(query|value)/kernel,lora,{rank:4}),)",
        "--config.data.name=parallel:/x=1.en,/x.de",
    ]
    made = config_file.load(f"{file}:data=csv:/p,q.csv", given[:-1])
    assert made.data.name == "csv:/p,q.csv"
    assert made.reinit == ("head/.*", "aux/.*")
    assert made.optim.rates == (("(stage4|head)/.*", 10), (".*", 1))
    assert made.phases[0]["trainable"] == "(stage4|head)/.*"
    assert made.adapters == ((".*/(query|value)/kernel", "lora", {"rank": 4}),)
    assert config_file.load(str(file), given).data.name == "parallel:/x=1.en,/x.de"
    with pytest.raises(InputError, match=r"--config.reinit=\(a.*without its other half"):
        config_file.load(str(file), ["--config.reinit=(a"])


def test_what_a_comparison_varies():
    (axis,) = [vary.parse(['data.name="parallel:/a,/b",csv:/it\'s.csv', "reinit=(a,b),()"])]
    full = configs.fill({})
    found = [vary.changed(full, one) for one in axis]
    assert [(one["data"]["name"], one["reinit"]) for one in found] == [
        ("parallel:/a,/b", ("a", "b")),
        ("parallel:/a,/b", ()),
        ("csv:/it's.csv", ("a", "b")),
        ("csv:/it's.csv", ()),
    ]
