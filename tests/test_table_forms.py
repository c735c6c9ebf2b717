"""Tables are read as spreadsheets, pandas and R write them, or refused with the command that makes them readable."""

import csv
import io
import json
import subprocess

import numpy as np
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError

ROWS = [("caffè è buono, davvero", "pos"), ("così così", "neg"), ('he said "no"', "neg"), ("one\ntwo", "pos")]


def written(rows=ROWS, header=("text", "label"), **form):
    stream = io.StringIO()
    csv.writer(stream, **form).writerows([header, *rows])
    return stream.getvalue()


def opened(tmp_path, content, suffix="csv", **spec):
    path = tmp_path / f"set.{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return data.open({"name": f"csv:{path}", "modality": "text", **spec}, "all")


def held(source):
    return [(example["text"], source.class_names[example["label"]]) for example in source]


FORMS = {
    "commas": written(),
    "a mark of UTF-8": "\ufeff" + written(),
    "semicolons": written(delimiter=";"),
    "tabs": written(delimiter="\t"),
    "bars": written(delimiter="|"),
    "a line sep=": "sep=;\r\n" + written(delimiter=";"),
    "a quoted line sep=": '"sep=;"\r\n' + written(delimiter=";"),
    "blanks after commas": written().replace("label", " label", 1).replace(",pos", ", pos").replace(",neg", ", neg"),
    "empty columns": written([(*row, "", "") for row in ROWS], ("text", "label", "", "")),
    "quotes everywhere": written(quoting=csv.QUOTE_ALL),
}


@pytest.mark.parametrize("form", FORMS)
def test_csv_files_of_all_forms_give_the_same_examples(tmp_path, form):
    source = opened(tmp_path, FORMS[form])
    assert held(source) == ROWS
    guessed = {"semicolons": "semicolons are between", "tabs": "tabs are between", "bars": "vertical bars are between"}
    assert form not in guessed or guessed[form] in source.notes[0]


TABS = {  # as csv and pandas write them
    "quotes": [('he said "no"', "neg"), ("plain", "pos")],
    "a tab inside": [("both\ttab", "pos"), ("plain", "neg")],
    "a line break inside": [("two\nlines", "neg"), ("plain", "pos")],
    "only quotes": [('"', "neg"), ('""', "pos")],
    "empty": [("", "neg"), ("plain", "pos")],
    "a quote and commas": [('"Well", she said', "neg"), ("a, b", "pos")],
}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("name", TABS)
def test_tsv_files_are_read_as_they_are_written(tmp_path, name, quoting):
    assert held(opened(tmp_path, written(TABS[name], delimiter="\t", quoting=quoting), "tsv")) == TABS[name]


@pytest.mark.parametrize(
    "texts",
    [
        ["\"it 's", "plain"],
        ['he said "no"', "plain"],
        ['"Great movie"', "a second text"],
        ['"open', 'closed"'],
        ['"a" and "b"', "c"],
    ],
)
def test_quotes_in_a_tsv_file_without_quoting_are_of_the_texts(tmp_path, texts):
    source = opened(tmp_path, "text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts), "tsv")
    assert [example["text"] for example in source] == texts


def test_columns_that_r_quotes_without_their_header(tmp_path):
    assert held(opened(tmp_path, 'text\tlabel\n"a"\t"x"\n"b c"\t"y"\n', "tsv")) == [("a", "x"), ("b c", "y")]


WIDE = {
    "utf-16-le": "is UTF-16LE, not UTF-8; convert it: iconv -f UTF-16LE -t UTF-8 ",
    "utf-16-be": "is UTF-16BE, not UTF-8; convert it: iconv -f UTF-16BE -t UTF-8 ",
    "cp1252": "line 2: byte 5 of the line is not UTF-8; .*: iconv -f WINDOWS-1252 -t UTF-8 ",
}


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt"])
def test_other_encodings_are_named_with_the_command_that_converts_them(tmp_path, encoding, suffix):
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in (("x", "y"), *ROWS)]
    texts = {"jsonl": "\n".join(lines), "txt": "\n".join(["text", *(text for text, _ in ROWS)])}
    path, kind = tmp_path / f"set.{suffix}", {"jsonl": "jsonl", "txt": "text"}.get(suffix, "csv")
    path.write_bytes(texts.get(suffix, written(delimiter="\t" if suffix == "tsv" else ",")).encode(encoding))
    says = WIDE[encoding].replace("byte 5", r"byte \d+")
    with pytest.raises(InputError, match=says) as error:
        data.open({"name": f"{kind}:{path}"}, "all")
    command = str(error.value).split(": ")[-1].replace("new_file", str(tmp_path / f"new.{suffix}"))
    subprocess.run(command, shell=True, check=True)
    assert len(data.open({"name": f"{kind}:{tmp_path}/new.{suffix}"}, "all")) >= 4


HARD = [*ROWS, ("Ċ ਊ \u0a0d 😀 ਊ", "pos"), ("", "neg"), ("a" * 70_000 + "ਊ", "pos")]  # bytes like ends of lines, halves


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["mark", "codec's own"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "text", "vector", "no newline at the end"])
def test_what_a_byte_order_mark_states_is_read(tmp_path, form, encoding, mark):
    """Excel saves "Unicode text" so; Python's `utf-16` writes the mark of this machine."""
    encoding, mark = (encoding, mark) if mark else (encoding[:6], "")
    path = tmp_path / "set.txt"
    objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in HARD]
    content = {
        "csv": written(HARD),
        "tsv": written(HARD, delimiter="\t"),
        "jsonl": "\n".join(objects),
        "text": "\r\n".join(text.replace("\n", " ") for text, _ in HARD if text),
        "vector": "x,y,label\n1,2.5,a\n-3,4e1,b\n",
        "no newline at the end": written(HARD).rstrip("\r\n"),
    }[form]
    path.write_bytes((mark + content).encode(encoding))
    kind = {"jsonl": "jsonl", "text": "text"}.get(form, "csv")
    source = data.open({"name": f"{kind}:{path}"}, "all")
    if form == "vector":
        np.testing.assert_array_equal([example["vector"] for example in source], [[1, 2.5], [-3, 40]])
    elif form == "text":
        assert [example["text"] for example in source] == content.split("\r\n")
    else:
        assert held(source) == HARD


@pytest.mark.parametrize("broken", [b"\0", "\ud800".encode("utf-16-le", "surrogatepass") + "x".encode("utf-16-le")])
def test_wide_text_that_is_cut_is_named_with_its_line(tmp_path, broken):
    with pytest.raises(InputError, match=r"set\.csv, line 3: is no UTF-16, as the first bytes of the file state; save"):
        opened(tmp_path, ("\ufeff" + "text,label\na,b\nc,d").encode("utf-16-le") + broken)
    with pytest.raises(InputError, match="ends its lines in carriage returns alone"):
        opened(tmp_path, ("\ufeff" + written(lineterminator="\r")).encode("utf-16-le"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (written([ROWS[0]]).encode("utf-16").decode("latin1").encode(), "was UTF-16, and has been converted as if"),
        (written(lineterminator="\r"), r"ends its lines in carriage returns alone; convert it: tr '\\r' '\\n' < "),
        (written().replace("buono", "buo\0no"), r"line 2: has a NUL byte; remove it: tr -d '\\000' < "),
        (b"text,label\n\x81\x40\xef,x\n", "line 2: byte 0 of the line is not UTF-8; find out its encoding"),
        (b"PK\x03\x04" + bytes(100), "is a spreadsheet or another zip archive"),
        (b"\x1f\x8b\x08" + bytes(100), "is compressed; unpack it with gunzip"),
        ('text,label\n"he said \\"no\\"",neg\n', "line 2: is no row of a CSV file: .* doubled inside a field"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        opened(tmp_path, content)
    assert "\n" not in str(error.value)


def test_half_a_character_in_json_lines_is_named(tmp_path):
    path = tmp_path / "set.jsonl"
    lines = ['{"text": "fine \\ud83d\\ude00 \\u200b \\u0000", "label": 1}', '{"text": "cut \\ud83d", "label": 0}']
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"line 2, 'text': has \\ud83d, half of a character; remove it"):
        data.open({"name": f"jsonl:{path}"}, "all")
    path.write_text(lines[0])
    assert data.open({"name": f"jsonl:{path}"}, "all")[0]["text"] == "fine \U0001f600 \u200b \0"
    path.write_text('{"tokens": ["a", "\\udc00"], "tags": [0, 1]}')
    with pytest.raises(InputError, match=r"line 1, 'tokens': has \\udc00"):
        data.open({"name": f"jsonl:{path}"}, "all")


@pytest.mark.parametrize(
    "content",
    [
        "a;b;label\n1;2.5;x\n3;4;y\n",
        "sep=;\na;b;label\n1;2.5;x\n3;4;y\n",
        "a, b, label\n1, 2.5, x\n3, 4, y\n",
        ",a,b,label\n0,1,2.5,x\n1,3,4,y\n",
        'a\tb\tlabel\n1\t2.5\t"x"\n3\t4\t"y"\n',
        'a,b,label\n"1","2.5","x"\n"3","4","y"\n',
    ],
)
def test_tables_of_numbers_have_the_same_forms(tmp_path, content):
    (tmp_path / "set.csv").write_text(content)
    source = data.open({"name": f"csv:{tmp_path}/set.csv", "modality": "vector"}, "all")
    np.testing.assert_array_equal([example["vector"] for example in source], [[1, 2.5], [3, 4]])
    assert (source.labels.tolist(), source.class_names) == ([0, 1], ["x", "y"])


def test_labels_of_vectors_may_be_missing(tmp_path):
    (tmp_path / "set.csv").write_text("a,b,label\n1,2,\n2,3,1.0\n2,5,0.0\n")
    spec = {"name": f"csv:{tmp_path}/set.csv", "labels": "class"}
    with pytest.raises(InputError, match="line 2: the label 'label' is empty: 1 of 3 labels"):
        data.open(spec, "all")
    source = data.open(spec | {"missing": "drop"}, "all")
    assert [example["vector"].tolist() for example in source] == [[2, 3], [2, 5]]
    assert source.labels.tolist() == [1, 0]
