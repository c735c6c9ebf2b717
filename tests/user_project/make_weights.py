"""Makes `signal_net.pth` and what torch computes with it; needs torch."""

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


class SignalNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(1, 8, 9, padding=4)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).amax(-1))


if __name__ == "__main__":
    torch.manual_seed(0)
    model = SignalNet()
    model(torch.randn(64, 1, 64))
    model.eval()
    torch.save(model.state_dict(), HERE / "signal_net.pth")
    x = torch.randn(3, 1, 64)
    np.savez(HERE / "signal_net.npz", x=x.numpy().transpose(0, 2, 1), y=model(x).detach().numpy())
