"""Makes tests/references/distillation.json, values of distillation by torch in float64.

The inputs are formulas, which the test has too; the functions are those of the papers, written in torch.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

FILE = Path(__file__).parent / "references/distillation.json"
ROWS, CLASSES = torch.arange(6.0, dtype=torch.float64)[:, None], torch.arange(7.0, dtype=torch.float64)[None]
STUDENT, TEACHER = 2 * torch.sin(0.5 * ROWS + 1.7 * CLASSES), 2 * torch.cos(0.8 * ROWS + 1.1 * CLASSES)
OTHER = 1.5 * torch.sin(0.6 * ROWS - 0.9 * CLASSES)


def maps(side, channels, scale):
    """Channels first, as torch has them."""
    n = torch.arange(2 * channels * side * side, dtype=torch.float64)
    return torch.sin(scale * n).reshape(2, channels, side, side)


def kd(temperature):
    log_q = F.log_softmax(STUDENT / temperature, -1)
    return temperature**2 * F.kl_div(log_q, F.softmax(TEACHER / temperature, -1), reduction="batchmean")


def mean_of_two(temperature):
    p = (F.softmax(TEACHER / temperature, -1) + 3 * F.softmax(OTHER / temperature, -1)) / 4
    return temperature**2 * F.kl_div(F.log_softmax(STUDENT / temperature, -1), p, reduction="batchmean")


def lumped(k, temperature):
    """KL over k classes and one that stands for all others."""
    p, q = F.softmax(TEACHER / temperature, -1), F.softmax(STUDENT / temperature, -1)
    top = p.topk(k, -1).indices
    p, q = (torch.cat([x.gather(1, top), 1 - x.gather(1, top).sum(1, keepdim=True)], 1) for x in (p, q))
    return temperature**2 * F.kl_div(q.log(), p, reduction="batchmean")


def answers(temperature):
    p = torch.sigmoid(TEACHER / temperature)
    cross = F.binary_cross_entropy_with_logits(STUDENT / temperature, p)
    own = F.binary_cross_entropy_with_logits(TEACHER / temperature, p)
    return temperature**2 * (cross - own)


def attention():
    looks = [F.normalize(x.pow(2).sum(1).flatten(1)) for x in (maps(4, 3, 0.3), maps(4, 5, 0.2))]
    return (looks[0] - looks[1]).pow(2).sum(1).mean()


def pooled_attention():
    student, teacher = maps(4, 3, 0.3), F.avg_pool2d(maps(8, 5, 0.2), 2)
    looks = [F.normalize(x.pow(2).sum(1).flatten(1)) for x in (student, teacher)]
    return (looks[0] - looks[1]).pow(2).sum(1).mean()


def relations():
    def distances(x):
        found = torch.cdist(x, x)
        return found / found[found > 0].mean()

    each = F.smooth_l1_loss(distances(STUDENT), distances(TEACHER), reduction="sum")
    return each / (len(STUDENT) * (len(STUDENT) - 1))


if __name__ == "__main__":
    found = {
        "kd at 4": kd(4.0),
        "kd at 1": kd(1.0),
        "mean of two at 2": mean_of_two(2.0),
        "top 2 at 1": lumped(2, 1.0),
        "top 3 at 2": lumped(3, 2.0),
        "answers at 3": answers(3.0),
        "attention": attention(),
        "pooled attention": pooled_attention(),
        "relations": relations(),
    }
    FILE.write_text(json.dumps({name: float(value) for name, value in found.items()}, indent=1) + "\n")
