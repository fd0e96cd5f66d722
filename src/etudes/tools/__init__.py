"""Networks that are trained or fetched once, for several studies: `from etudes.tools.classifier import classifier`.

| I need ... | it is |
|---|---|
| a classifier whose features measure generated pictures | `classifier.classifier` |
| EfficientNet-Lite with ImageNet's weights | `efficientnet.imagenet_network` |
| a network that tells faces apart | `faces.face_network` |
| an encoder of sentences, carried by a package, of the hub or of our own | `encoders.sentence_encoder` |
| lines of English by way of French | `translator.back_translation` |
"""
