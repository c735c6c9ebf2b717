"""Exports: python -m jtransfer.export WORKDIR DEST --format=FORMAT [--step=STEP|best|last] [--adapters=FOLDER …]
            [--push=hf://org/name [--private]]

A run's folder, or any checkpoint that is read → the new folder DEST with names and files that another library loads:

    hf           AutoModelForImageClassification.from_pretrained(DEST), or the class that config.json names; of a model
                 that gives embeddings of texts SentenceTransformer(DEST), too; of a classifier of texts whose pooling
                 no class of transformers has, such as "unit_mean", that alone, and its embeddings are the logits
    timm         timm.create_model("local-dir:DEST", pretrained=True)
    torchvision  model.load_state_dict(safetensors.torch.load_file("DEST/model.safetensors"), strict=True)
    torch        the same of a model of torch's own layers: torch.nn.Sequential, LSTM, GRU
    safetensors  names of ours, as params/stem/conv/kernel
    npz          the same for numpy
    orbax        the same as jtransfer.convert writes it
    stablehlo    for jax.export: a program, and its parameters. It takes what the model takes, images as uint8
                 [B, H, W, C], texts as {"input_ids": int32 [B, N], …}, vectors of a run as they are in its data,
                 float32 [B, D], and gives float32 logits
    onnx         for onnxruntime: model.onnx, for any batch size and length of texts, which takes what that program
                 takes; its metadata have the names of classes and inputs. It is kept where onnxruntime gives the
                 model's logits to 1e-4 on examples of the run. pip install 'jtransfer[onnx]'
    tflite       for LiteRT: model.tflite, of one example, kept likewise. pip install 'jtransfer[tflite]'
    peft         the adapters alone, for PeftModel.from_pretrained(BASE, DEST), by the names of the modules of the first
                 of transformers and timm that has the model; peft_timm, peft_torchvision and peft_transformers4, whose
                 modules are called otherwise than those of version 5, ask for others

Adapters are merged into what all other formats write: those of a run, and those in the folders (of Hugging Face's PEFT)
that --adapters gives for a base.

A model card for the Hugging Face hub, README.md, lies beside what is written: what the model began with, its
licence, how it was trained, its results with their intervals, and the lines that load it. --push uploads the folder
then, with HF_TOKEN or after `hf auth login`; a card that the repository has stays.

The tokenizer's files come along. `source.json` says which model it is; `weights.restore(DEST)` reads all but onnx,
tflite and peft back.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from absl import flags

from jtransfer.core.command import parse_flags, run_command, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.new_folder import tell_leftovers
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Exports by a command line."""
    values = flags.FlagValues()
    format = flags.DEFINE_string("format", "", "see above", flag_values=values)
    step = flags.DEFINE_string("step", "", "of a run: one it kept, best or last; else its model", flag_values=values)
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of a base", flag_values=values)
    push = flags.DEFINE_string("push", "", "hf://org/name: where it is uploaded to then", flag_values=values)
    private = flags.DEFINE_boolean("private", None, "a new repository is private", flag_values=values)
    rest = parse_flags(values, list(argv))
    from jtransfer.exporting.export import FORMATS, export
    from jtransfer.exporting.peft_folder import FORMATS as PEFT

    if len(rest) != 2 or not format.value:
        raise InputError(
            f"give a run or checkpoint, a new folder and a format: python -m jtransfer.export WORKDIR DEST "
            f"--format={'|'.join((*FORMATS, *PEFT))}"
        )
    source, dest = rest
    tell_leftovers(dest)
    asked = {"step": step_of(step.value), "adapters": adapters.value, "push": push.value, "private": private.value}
    export(source, dest, format.value, **asked)
    say(f"{source} → {dest} ({format.value})")


if __name__ == "__main__":
    run_command(main)
