"""Pictures with texts about them, and a class each."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="product-photos",
        task="captions",
        hub="ashraq/fashion-product-images-small",
        revision="",
        licence="believed MIT (the set of which it is a part); not verified",
        megabytes=12,
        splits={"train": 14_000},
        columns=("image", "productDisplayName", "articleType", "baseColour"),
        side=32,
        says="photos of products with the shop's own titles, types with 100 products and more; words of the types' "
        "names are taken out of all titles",
        upstream="the hub's 44,072 products, of which 14,000 have one title and one picture each",
    ),
    *(
        Source(
            name=name,
            task="captions",
            hub="",
            revision="",
            licence="research and education (the pictures are photographers' own)",
            megabytes=1160,
            splits={"train": 5994, "test": 5794},
            columns=(),
            originals="CUB_200_2011",
            side=64,
            says=f"200 kinds of birds, {says}; the last word of every kind's name is taken out of all captions",
            upstream=f"the folder CUB_200_2011 as Wah et al. 2011 publish it{more}",
        )
        for name, says, more in (
            (
                "cub-captions",
                "ten captions a picture",
                ", and in it the folder text_c10 of Reed et al. 2016: a folder a kind, a file of ten lines a picture",
            ),
            ("cub-attributes", "one caption a picture, of the attributes that were seen on it with certainty", ""),
        )
    ),
)
