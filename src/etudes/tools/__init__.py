"""Networks that are trained or fetched once, for several studies: `from etudes.tools.classifier import classifier`.

| I need ... | it is |
|---|---|
| a classifier whose features measure generated pictures | `classifier.classifier` |
| EfficientNet-Lite with ImageNet's weights | `efficientnet.imagenet_network` |
| lines of English by way of French | `translator.back_translation` |
"""
