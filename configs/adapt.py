"""Adapts a model to a target domain whose labels are not looked at: --config=configs/adapt.py:method=dann

source, target: data sets with the same classes, as in config.data.name.
method: source (trains on the source alone), or one of METHODS, which see both domains, or of SOURCE_FREE, which begin
with a run on the source, init=RUN, and see the target alone; adda does that and sees the source, too.
model, init, size: the model, its weights, and the side of its images in pixels.
norms: statistics gives the source batch norm statistics of its own; own scales and biases, too.
steps, batch, lr: of the run.
"""

from jtransfer import config as configs
from jtransfer.core.errors import InputError, unknown

METHODS = {  # the terms beside the task on the source
    "joined": [],
    "dann": ["dann"],
    "pada": [("dann", {"partial": True})],
    "cdan": ["cdan"],
    "mdd": ["mdd"],
    "mcd": ["mcd"],
    "bsp": ["dann", ("bsp", 1e-4)],
    "mmd": ["mmd"],
    "jan": ["jan"],
    "coral": [("coral", 10.0)],
    "sinkhorn": ["sinkhorn"],
    "deepjdot": [("sinkhorn", {"debiased": False, "labels": 1.0})],
    "mcc": ["mcc"],
    "afn": [("afn", 0.05)],
    "bnm": ["bnm"],
    "entropy": [("entropy", 0.1)],
    "pseudo": ["pseudo"],
    "fixmatch": ["fixmatch"],
}
BUT_THE_HEAD = "(?!head/).*"
SOURCE_FREE = {  # the objective, and what its phase trains
    "adabn": ([("task", 1.0)], {"statistics": "target", "steps": 0}),
    "tent": ([("entropy", 1.0)], {"statistics": "target", "trainable": "norms"}),
    "shot": ([("infomax", 1.0), ("shot", 0.3)], {"trainable": BUT_THE_HEAD}),
}


def get_config(arg=""):
    given = configs.parse(
        arg,
        method="dann",
        source="mnist",
        target="sklearn:digits",
        model="resnet18",
        init="scratch",
        size="32",
        norms="",
        steps="1000",
        batch="64",
        lr="1e-3",
    )
    method, alone = given["method"], given["method"] in (*SOURCE_FREE, "source")
    if method not in (*METHODS, *SOURCE_FREE, "adda", "source"):
        raise unknown("method", method, [*METHODS, *SOURCE_FREE, "adda", "source"])
    if method in (*SOURCE_FREE, "adda") and given["init"] == "scratch":
        raise InputError(
            f"method={method} begins with a run on the source; train one with method=source, and give init=RUN"
        )
    config = configs.default()
    config.modality = "image"
    config.init = given["init"]
    config.model.name = given["model"]
    config.model.fields.image_size = int(given["size"])
    config.data.name = given["source" if method == "source" else "target"]
    config.data.train, config.data.test = ("train", "test") if method == "source" else ("all[:70%]", "all[70%:]")
    config.data.transform = f"resize({given['size']})|pad(2)|random_crop({given['size']})"
    config.data.eval_transform = f"resize({given['size']})"
    config.batch_size = int(given["batch"])
    config.optim.lr = float(given["lr"])
    config.model_selection = "last"  # no label of the target chooses a checkpoint
    config.phases = [configs.phase("adapt", trainable=".*", steps=int(given["steps"]))]
    if not alone:
        config.streams.source = {"data": {"name": given["source"], "train": "train"}, "share": 0.5}
        config.streams.source["norms"] = given["norms"]
    if method in METHODS:
        config.objective = [("task", {"on": ["source"]}), *METHODS[method]]
    if method == "adda":
        config.objective, config.phases[0].trainable = ["adda"], BUT_THE_HEAD
    if method in SOURCE_FREE:
        config.objective, fields = SOURCE_FREE[method]
        config.phases[0].update(fields)
    return config
