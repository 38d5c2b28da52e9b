"""What a process of the program imports, for `tests.forked`: torch and RecBole take seconds."""

import importlib

from recbole_fmrlrec import compat

NAMES = (
    "sklearn.decomposition",
    "sklearn.feature_extraction.text",
    "torch._dynamo",  # torch's optimizers import it when the first one is made
    "torch.utils.tensorboard",
    "tensorboard.plugins.hparams.summary",
    "recbole_fmrlrec.cli.main",
    "recbole_fmrlrec.models.fmrlrec",
    "recbole_fmrlrec.train.run",
    "tests.conftest",
)

compat.apply()  # before RecBole's modules are imported
for name in NAMES:
    importlib.import_module(name)
