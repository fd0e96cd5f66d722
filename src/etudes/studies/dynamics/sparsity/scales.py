"""The fields that each scale sets."""

DIGITS = {"dataset": "digits", "examples": 20, "held_out": 50, "width": 9, "steps": 3, "later_steps": 4}
TINY = DIGITS | {"batch": 8, "prune_every": 2, "explained": 20, "looked_at": 16}
OFFLINE = {"dataset": "digits", "examples": 0, "held_out": 200}
VGG = {"dataset": "cifar10", "network": "vgg", "width": 16, "examples": 0, "held_out": 5000}
CIFAR = VGG | {"augment": True, "steps": 3000, "later_steps": 1500, "batch": 64, "prune_every": 50}
RESNET = {"dataset": "ILSVRC/imagenet-1k", "side": 224, "network": "resnet50", "examples": 0}
LONG = RESNET | {"held_out": 10_000, "augment": True, "optimiser": "sgd", "lr": 0.1, "steps": 300_000}
PAPER = LONG | {"later_steps": 150_000, "batch": 256, "prune_every": 1000, "shares": (0.2, 0.1), "log_every": 100}
